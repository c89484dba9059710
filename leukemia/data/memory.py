"""Whether the batches of loader processes find room in the shared memory."""

import shutil
import sys
from pathlib import Path

import numpy as np

from leukemia.data.datamodule import ArrayDataModule

SHARED = Path("/dev/shm")
AHEAD = 2  # batches that torch lets each loader process prepare
_ALSO_HELD = 2  # batches on their way, or in use


def fit_workers(data: ArrayDataModule, batch_size: int = 0) -> None:
    """Load in this process where the batches of loader processes would not find room, and say so.

    They hand batches over in shared memory. Where it is used up the system kills them, and what
    waits for them may wait for ever. Containers often have 64 MB of it.

    Args:
        data: set up; its ``num_workers`` may become 0, which changes no batch.
        batch_size: rows of the largest training batch; 0 where nothing is trained.
    """
    if data.num_workers == 0 or data.array is None or not SHARED.is_dir():
        return
    one = int(np.prod(data.array.shape[1:])) * data.array.dtype.itemsize
    # The processes of training stay while as many load validation.
    rows = (batch_size + data.eval_batch_size) * data.num_workers * AHEAD
    rows += _ALSO_HELD * max(batch_size, data.eval_batch_size)
    needed = min(rows, len(data.array)) * one
    free = shutil.disk_usage(SHARED).free
    if needed > free:
        print(
            f"trainer.num_workers={data.num_workers} would take {needed / 2**20:.0f} MB of shared "
            f"memory, and {SHARED} has {free / 2**20:.0f} MB free: images are loaded in this "
            f"process. (`docker run --shm-size` gives a container more.)",
            file=sys.stderr,
        )
        data.num_workers = 0
