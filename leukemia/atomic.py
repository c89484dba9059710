"""Files that are either whole or absent, whenever the process dies."""

import io
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
