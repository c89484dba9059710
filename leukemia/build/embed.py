"""What a run's network makes of its images before the head."""

import numpy as np
import numpy.typing as npt
from omegaconf import DictConfig

from leukemia.data.datamodule import ArrayDataModule
from leukemia.model.embeddings import embed_packed
from leukemia.model.hardware import Hardware
from leukemia.model.network import Network
from leukemia.report.ood import Known, fit_known


def embed_images(
    cfg: DictConfig,
    data: ArrayDataModule,
    rows: npt.NDArray[np.int64],
    network: Network,
    hardware: Hardware,
) -> npt.NDArray[np.float32]:
    """Return the embeddings (n, d) of some images, one view of each.

    Args:
        cfg: the settings.
        data: of images, set up.
        rows: which images, (n,).
        network: its normalisation and backbone are used.
        hardware: where and in which precision.
    """
    return embed_packed(
        network,
        np.asarray(data.array),
        rows,
        batch_size=cfg.trainer.eval_batch_size,
        device=hardware.accelerator,
        half=hardware.half,
        progress=False,
    )


def learn_known(
    cfg: DictConfig, data: ArrayDataModule, network: Network, hardware: Hardware
) -> Known:
    """Return what tells whether an image is out of distribution, fitted on validation."""
    return fit_known(embed_images(cfg, data, data.parts["val"], network, hardware))
