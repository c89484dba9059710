"""Writing that leaves nothing half-written, and a disk that is full, read-only or not ours.

Free of torch and numpy: every verb's start reads this.
"""

import contextlib
import errno
import io
import os
import platform
import re
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from leukemia.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# What the system says of a file that cannot be written: in words, and what helps.
_FAULTS = {
    errno.ENOSPC: ("the disk is full", "make room there"),
    errno.EDQUOT: ("the quota of this user is used up", "make room there"),
    errno.EFBIG: ("the file grows beyond the limit of this shell", "raise `ulimit -f`"),
    errno.EROFS: ("the disk is read-only", "make it writable, or name a folder elsewhere"),
    errno.EACCES: ("permission denied", "allow it to this user, or name another folder"),
    errno.EPERM: ("not permitted", "allow it to this user, or name another folder"),
    errno.EIO: ("the disk does not answer as it should", "check it, or name a folder elsewhere"),
    errno.ENAMETOOLONG: ("a name is too long", "choose a shorter one"),
    errno.EMFILE: ("too many files are open", "raise `ulimit -n`"),
    errno.ENFILE: ("too many files are open on this machine", "close some"),
    errno.ESTALE: ("the network's folder was taken away", "mount it again"),
}
# Such a fault may end as another exception, in a library that writes for us.
_OF_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_DATABASE = {
    "is full": errno.ENOSPC,
    "readonly": errno.EROFS,
    "i/o error": errno.EIO,
    "unable to open": errno.EACCES,
}


def told(error: BaseException, folder: Path | None = None) -> str | None:
    """Say a fault of the disk in one line: which folder, what is wrong, and what helps.

    Args:
        error: what ended a verb.
        folder: where it wrote, for an error that names no file.

    Returns:
        The line, without a full stop; ``None`` where the error is none of the disk.
    """
    found = _cause(error)
    if found is None or found.errno is None:
        return None
    named = found.filename2 or found.filename
    if isinstance(named, bytes):
        named = named.decode(errors="replace")
    # Files are written beside and renamed: the name of the moment tells nobody anything.
    place = Path(str(named)).parent if named and str(named).endswith((".tmp", ".partial")) else None
    where = place or (Path(str(named)) if named else folder)
    if found.errno not in _FAULTS:
        return f"'{where}' cannot be used: {found.strerror}" if named else None
    what, remedy = _FAULTS[found.errno]
    return f"'{where or Path.cwd()}' cannot be used: {what} ({found.strerror}): {remedy}"


@contextmanager
def reported(folder: Path | None = None, more: Callable[[], str] = str) -> Iterator[None]:
    """Raise a fault of the disk as a user's error, whoever met it inside.

    Args:
        folder: where is written, for an error that names no file; ``None`` leaves alone what is
            no fault of the disk, such as a file that is missing.
        more: returns what to do then, such as "go on with resume=...", or nothing.

    Raises:
        UserError: instead of such a fault.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        line = told(error, folder)
        if line is None or (folder is None and not _is_fault(error)):
            raise
        then = more()
        raise UserError(f"{line}{', then ' if then else ''}{then}.") from error


def _is_fault(error: BaseException) -> bool:
    found = _cause(error)
    return found is not None and found.errno in _FAULTS


def _cause(error: BaseException) -> OSError | None:
    """Return the error of the system behind another one, if any."""
    if isinstance(error, OSError):
        return error
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen:
        seen.append(at)
        if isinstance(at, OSError) and at.errno in _OF_DISK:
            return at
        if isinstance(at, sqlite3.OperationalError):
            for words, number in _DATABASE.items():
                if words in str(at).lower():
                    return OSError(number, str(at))
        at = at.__cause__ or at.__context__
    return None


def check_writable(folder: Path, remedy: str) -> None:
    """Refuse a folder that cannot be written, before anything is computed for it.

    Args:
        folder: may be missing; then the nearest one above it is tried.
        remedy: what helps, in a message.

    Raises:
        UserError: nothing can be written there.
    """
    there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    trial = there / f".{uuid.uuid4().hex}.tmp"
    try:
        # Some bytes, because a full disk still takes names.
        trial.write_bytes(bytes(4096))
    except OSError as error:
        what = _FAULTS.get(error.errno or 0, (error.strerror or "", ""))[0]
        raise UserError(f"'{folder}' cannot be written: {what}. {remedy}") from error
    finally:
        with suppress(OSError):
            trial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace the file at `path` by `text` in UTF-8, as it stands (no newline is translated).

    Args:
        path: the file; its folder is made where it is missing.
        text: the whole content.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Replace the file at `path` by `data`; a reader sees the old content or the new, never a part.

    Args:
        path: the file; its folder is made where it is missing.
        data: the whole content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because os.replace is atomic within one file system only. Not by
    # `tempfile`, whose files are private to the user whatever the umask says.
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            error.filename, error.filename2 = str(path), None  # a full disk names no file
        raise


def create_text(path: Path, text: str) -> None:
    """Write a text file that nobody may have written before: of several at once, one succeeds.

    Args:
        path: the file; its folder is made where it is missing.
        text: the whole content.

    Raises:
        FileExistsError: it is there already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    write_text(temporary, text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_array(path: Path, array: "NDArray[np.generic]") -> None:
    """Replace the file at `path` by an array in numpy's format, whole or not at all.

    Args:
        path: the file, with the suffix .npy.
        array: of any shape.
    """
    import numpy as np  # here, so that help and printed configs do not wait for it

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


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
