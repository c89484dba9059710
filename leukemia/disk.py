"""A disk that is full, read-only or not ours, in one line; and a folder tried before hours of work.

Free of torch and numpy: every verb's start reads this.
"""

import errno
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from leukemia.errors import UserError

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
