"""Images become embeddings under a frozen backbone: the data of the stage ``head``."""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from leukemia.data.augment import paper_views
from leukemia.data.datamodule import ArrayDataModule, SmearDataModule
from leukemia.model.embeddings import cached_embeddings
from leukemia.model.hardware import Hardware
from leukemia.model.network import Network


def embedded(
    data: SmearDataModule,
    network: Network,
    hardware: Hardware,
    *,
    folder: Path,
    batch_size: int,
    five_views: bool,
) -> ArrayDataModule:
    """Return training and validation embeddings; those of the test part are not computed.

    Args:
        data: the images, set up.
        network: its normalisation and backbone are used, in eval mode.
        hardware: where and in which precision.
        folder: the cache of embeddings.
        batch_size: images a forward pass.
        five_views: embed the paper's five views of each training image, after the split.
    """
    images, labels = data.pixels()
    content = hashlib.sha256(
        "\n".join([data.preprocess.key, *data.manifest.sha256]).encode()
    ).hexdigest()
    tables: list[npt.NDArray[np.float32]] = []
    repeated: list[npt.NDArray[np.int64]] = []
    parts: dict[str, npt.NDArray[np.int64]] = {}
    for part in ("train", "val"):
        rows = data.parts[part]
        several = five_views and part == "train"
        found = cached_embeddings(
            network,
            images,
            rows,
            folder=folder,
            content=f"{content} {data.seed if several else 'plain'}",
            views=partial(_views, data.seed) if several else None,
            batch_size=batch_size,
            device=hardware.accelerator,
            bfloat16=hardware.precision == "bf16-mixed",
            progress=hardware.progress,
        )
        start = sum(map(len, repeated))
        tables.append(found.reshape(-1, found.shape[-1]))
        repeated.append(np.repeat(labels[rows], found.shape[1]))
        parts[part] = np.arange(start, start + len(repeated[-1]))
    return ArrayDataModule(
        np.concatenate(tables),
        np.concatenate(repeated),
        parts,
        eval_batch_size=1024,
        seed=data.seed,
    )


def _views(seed: int, image: npt.NDArray[np.uint8], row: int) -> npt.NDArray[np.uint8]:
    return paper_views(image, seed, row)
