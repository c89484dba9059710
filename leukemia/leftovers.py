"""A cache's entries while they are made, and what killed processes left of them."""

import contextlib
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_DAY: Final = 24 * 3600.0
_OURS: Final = re.compile(r"\.building\.(\d{1,9})\.[0-9a-f]+\.(.*)|\.[0-9a-f]{32}\.tmp")


@contextlib.contextmanager
def building(folder: Path) -> Iterator[Path]:
    """Sweep a cache folder, and give the name under which to make a new entry of it.

    Args:
        folder: the cache; made where it is missing.

    Yields:
        A path in it, where nothing is yet. A file or folder that is made there is to be renamed
        to its own name when it is whole; what is still there at the end is removed.

    Raises:
        OSError: the folder cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    path = folder / f".building.{os.getpid()}.{uuid.uuid4().hex}.{platform.node()}"
    try:
        yield path
    finally:
        remove(path)


def sweep(folder: Path) -> None:
    """Remove what processes that are gone left in a cache folder; other entries are left alone.

    What a dead process of this machine left goes at once. Of another machine (or container with
    a host name of its own), or of a process whose number is taken again, nobody can tell whether
    it is at work: its entry goes when nothing was written to it for a day.

    Args:
        folder: the cache; what cannot be read or removed stays, without an error.
    """
    with contextlib.suppress(OSError):
        for left in list(folder.iterdir()):
            found = _OURS.fullmatch(left.name)
            if found is None:
                continue
            here = found[1] is not None and found[2] == platform.node()
            if (here and not _alive(int(found[1]))) or _idle(left) > _DAY:
                remove(left)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it, as far as that can be done."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _idle(path: Path) -> float:
    """Return the seconds since an entry, or anything directly in it, was written to."""
    times = []
    for entry in (path, *(path.iterdir() if path.is_dir() else ())):
        with contextlib.suppress(OSError):
            times.append(entry.stat(follow_symlinks=False).st_mtime)
    return time.time() - max(times, default=time.time())


def _alive(pid: int) -> bool:
    if os.name == "nt":  # where signal 0 is a key press
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
