"""Brings what lies beside docs/ into the site, and turns links between them into the site's."""

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
BESIDE = ("experiments", "benchmarks")
"""Folders of the repository whose pages and records are part of the site."""

RECORDS = ("README.md", "metrics.json", "audit.json")
"""What a link to a folder shows in the site: the first of these that is there."""

SUFFIXES = {".md", ".png", ".csv", ".json"}

_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add pages, figures and tables of the folders beside docs/."""
    for folder in BESIDE:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES:
                name = path.relative_to(ROOT).as_posix()
                files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite relative links, which hold in the repository, into those of the site."""
    source = Path(str(page.file.abs_src_path)).parent
    here = PurePosixPath(page.file.src_uri).parent

    def rewritten(match: re.Match[str]) -> str:
        before, target, anchor, after = match.groups()
        if ":" in target:
            return match.group()
        uri = _uri((source / target).resolve())
        if uri is None:
            return match.group()  # mkdocs then warns, which ends a strict build
        return f"{before}{os.path.relpath(uri, here)}{anchor or ''}{after}"

    return _LINK.sub(rewritten, markdown)


def _uri(path: Path) -> str | None:
    """Return where a file or folder of the repository stands in the site, if it does."""
    for folder, base in (("docs", ROOT / "docs"), *((name, ROOT) for name in BESIDE)):
        if path.is_relative_to(ROOT / folder):
            if path.is_dir():
                path = next((path / name for name in RECORDS if (path / name).is_file()), path)
            return path.relative_to(base).as_posix()
    return "index.md" if path == ROOT / "README.md" else None
