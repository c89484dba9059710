"""Find the images of a dataset: one folder a class."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from leukemia.classes import Classes
from leukemia.data.files.images import name_some
from leukemia.errors import UserError

_NOTES: Final = {".txt", ".csv", ".md", ".json"}


@dataclass(frozen=True)
class ImageFile:
    """A file that should be an image.

    Args:
        path: relative to the dataset's folder, with forward slashes.
        label: index of its class.
    """

    path: str
    label: int


def list_images(root: Path, classes: Classes) -> list[ImageFile]:
    """List the files of a folder that holds one subfolder a class.

    Hidden entries are passed over, and so are notes (.txt, .csv, .md, .json) beside the class
    folders. Everything else in a class folder counts as an image, whatever its name.

    Args:
        root: the dataset's folder.
        classes: names and order of the class folders.

    Returns:
        The files, sorted by label and path.

    Raises:
        UserError: the folder cannot be read, or is not exactly one folder of files a class; all
            that is wrong is named at once.
    """
    try:
        if not root.is_dir():
            wrong = "is no folder" if root.exists() else "does not exist"
            raise UserError(
                f"data.root '{root}' {wrong}: "
                f"set data.root to a folder with one subfolder a class {list(classes.names)}."
            )
        beside = _visible(root)
        folders = {entry.name for entry in beside if entry.is_dir()}
        # Compared by listed name: on some systems (root / "early").is_dir() finds "Early" too.
        inside = {name: _visible(root / name) for name in classes.names if name in folders}
        problems = (
            _wrong_folders(folders, classes)
            + [f"class folder '{name}' is empty" for name, files in inside.items() if not files]
            + [
                f"'{name}/{entry.name}' is a folder inside a class folder"
                for name, files in inside.items()
                for entry in files
                if entry.is_dir()
            ]
            + [
                f"file '{entry.name}' lies beside the class folders"
                for entry in beside
                if not entry.is_dir() and entry.suffix.lower() not in _NOTES
            ]
        )
    except OSError as error:
        raise UserError(f"data.root '{root}' cannot be read: {error}.") from error
    if not inside and "Original" in folders:
        raise UserError(
            f"data.root '{root}' holds the whole download, with the class folders one level "
            f"down: use data.root={root / 'Original'}."
        )
    if problems:
        raise UserError(
            f"data.root '{root}' is not one folder of images for each class of "
            f"{list(classes.names)}: {name_some(problems)}. Rename or move what is named here, "
            f"or set data.classes.names to the folders that are there."
        )
    return [
        ImageFile(f"{name}/{entry.name}", label)
        for label, name in enumerate(classes.names)
        for entry in inside[name]
    ]


def _visible(folder: Path) -> list[Path]:
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    for entry in entries:
        if not _is_text(entry.name):
            raise UserError(f"The name {entry.name!a} in '{folder}' is not valid UTF-8: rename it.")
    return sorted(entries, key=lambda entry: entry.name)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _wrong_folders(folders: set[str], classes: Classes) -> list[str]:
    missing = [name for name in classes.names if name not in folders]
    extra = sorted(folders - set(classes.names))
    problems = []
    # Equal but for case first, so that 'pro' is never taken for a misspelt 'Pre'.
    for cutoff in (1.0, 0.6):
        for name in list(missing):
            spelt = {folder.strip().casefold(): folder for folder in extra}
            close = difflib.get_close_matches(name.casefold(), spelt, n=1, cutoff=cutoff)
            if close:
                folder = spelt[close[0]]
                problems.append(f"folder '{folder}' should be called '{name}'")
                missing.remove(name)
                extra.remove(folder)
    problems += [f"class folder '{name}' is missing" for name in missing]
    return problems + [f"folder '{name}' is no class" for name in extra]
