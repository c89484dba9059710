"""Files that are either whole or absent, whenever the process dies."""

import os
import uuid
from pathlib import Path


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
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
