"""What reading files told, kept between runs."""

import hashlib
import json
import sys
from pathlib import Path
from typing import NamedTuple

from leukemia.errors import UserError
from leukemia.leftovers import building, remove

Stamp = tuple[int, int, int, int]
"""Size, times of change of content (mtime) and of anything (ctime), nanoseconds, and inode: what
no copy, exchange or restored time leaves as it was, on a local file system."""


class Fact(NamedTuple):
    """What reading a file told, and by what it is known to be the same still."""

    width: int
    height: int
    sha256: str
    stamp: Stamp


def digest(content: object) -> str:
    """Return a sha256 over what can be written as JSON, in hex."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def stamp_of(path: Path) -> Stamp:
    """Return by what a file is known to be the same, -1 throughout where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return -1, -1, -1, -1  # a dangling link: reading it will say so
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def load_facts(cache: Path) -> dict[str, Fact]:
    """Return what was kept by path; nothing, with a line on stderr, where that is damaged."""
    try:
        content = json.loads(cache.read_text(encoding="utf-8"))
        if content["sha256"] != digest(content["facts"]):
            raise ValueError("not what was written")
        return {
            path: Fact(width, height, sha256, tuple(stamp))
            for path, (width, height, sha256, stamp) in content["facts"].items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        print(f"The cache '{cache}' is damaged ({error}): all images are read.", file=sys.stderr)
        return {}


def save_facts(cache: Path, facts: dict[str, Fact]) -> None:
    """Keep facts by path.

    Raises:
        UserError: they cannot be written.
    """
    text = json.dumps({"facts": facts, "sha256": digest(facts)})
    try:
        with building(cache.parent) as beside:
            beside.write_text(text, encoding="utf-8")
            if cache.is_dir():  # our name, but nothing that we can read
                remove(cache)
            beside.replace(cache)
    except OSError as error:
        raise UserError(
            f"The cache '{cache.parent}' cannot be written ({error.strerror}): "
            f"set data.cache_dir to another folder."
        ) from error
