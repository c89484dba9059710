"""Embeddings made elsewhere, as a table with a manifest."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from leukemia.classes import Classes
from leukemia.data.files.manifest import Manifest
from leukemia.errors import UserError


def read_embeddings(file: Path, classes: Classes) -> tuple[npt.NDArray[np.float32], Manifest]:
    """Read a ``.npz`` with ``embeddings`` (N, d) and ``files`` (N,), each "Class/name.jpg".

    Returns:
        Embeddings (N, d) float32, and their manifest in the same order; a row's sha256 is
        that of its embedding, so identical images still form one group.

    Raises:
        UserError: the file is absent, no such archive, has other shapes, values that are
            not finite, a file named twice, or a folder that is no class.
    """
    if not file.is_file():
        raise UserError(f"Expected data.file to be a .npz file, but '{file}' does not exist.")
    try:
        with np.load(file, allow_pickle=False) as archive:
            files = archive["files"].astype(str)
            table = archive["embeddings"].astype(np.float32)
    # A lone array (.npy) is no context manager: a TypeError.
    except (OSError, EOFError, TypeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"Expected data.file '{file}' to be a .npz with arrays 'embeddings' and 'files', "
            f"but reading it failed: {error}"
        ) from error
    if table.ndim != 2 or files.shape != (len(table),) or len(table) == 0:
        raise UserError(
            f"Expected data.file '{file}' to hold embeddings (N, d) and files (N,), "
            f"but got {table.shape} and {files.shape}."
        )
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        raise UserError(f"Expected finite embeddings in '{file}', but row {bad[0]} is not.")
    names, counts = np.unique(files, return_counts=True)
    if counts.max() > 1:
        raise UserError(f"Expected each file once in '{file}', but got '{names[counts > 1][0]}'.")
    labels = []
    for name in files:
        folder = name.split("/")[0]
        if "/" not in name or folder not in classes.names:
            raise UserError(
                f"Expected every entry of 'files' in '{file}' to start with a class folder of "
                f"{list(classes.names)}, but got '{name}'."
            )
        labels.append(classes.names.index(folder))
    return table, Manifest(
        files=tuple(str(name) for name in files),
        labels=np.array(labels, dtype=np.int64),
        sizes=np.zeros((len(files), 2), dtype=np.int64),
        sha256=tuple(hashlib.sha256(row.tobytes()).hexdigest() for row in table),
    )
