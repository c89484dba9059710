"""Which images belong together and must stay on one side of a split."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def identical_groups(sha256: Sequence[str]) -> NDArray[np.int64]:
    """Group byte-identical files.

    Args:
        sha256: the hash of each of N files.

    Returns:
        A group id for each file, (N,), in [0, N); ids count up in order of first appearance.
    """
    ids: dict[str, int] = {}
    return np.array([ids.setdefault(digest, len(ids)) for digest in sha256], dtype=np.int64)
