"""What a report shows of a run beside its figures: the images, and how the network sees them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from omegaconf import DictConfig, OmegaConf

from leukemia.build.data import Sources
from leukemia.data.crop import to_square
from leukemia.data.datamodule import SmearDataModule
from leukemia.data.files import BadImage, decode_image, read_bytes
from leukemia.data.manifest import Manifest
from leukemia.data.parts import PARTS, Split
from leukemia.model.network import Outputs
from leukemia.report.calibration import Calibration
from leukemia.report.embedding_map import METHODS, EmbeddingMap, check_method, draw_rows, project
from leukemia.report.findings import DataFacts, Pictures
from leukemia.report.judge import judge
from leukemia.report.predictions import Predictions
from leukemia.report.sections.mistakes import worst_mistakes

Views = dict[str, npt.NDArray[np.uint8]]


def describe_run(
    cfg: DictConfig,
    data: Sources,
    seen: Mapping[str, Outputs],
    predictions: Mapping[str, Predictions],
    calibration: Calibration,
) -> dict[str, Any]:
    """Return what `Findings` holds beside the figures, by the names of its fields.

    Args:
        cfg: the run's settings.
        data: set up, with the run's own parts.
        seen: what the network makes of each part.
        predictions: by part, in the order of `data.parts`.
        calibration: the run's.
    """
    return {
        "data": describe_data(cfg, data),
        "embedding": map_embeddings(cfg, seen, predictions),
        "pictures": show_mistakes(data, predictions),
        "calibration": calibration,
        "judged": {
            part: judge(table, calibration, data.split.groups[data.parts[part]])
            for part, table in predictions.items()
        },
    }


def known_floors(cfg: DictConfig, part: str = "test") -> list[dict[str, Any]]:
    """Return what simple features reach on the same files, where that was measured."""
    if cfg.split.name != "paper" or part != "test" or len(cfg.data.classes.names) != 4:
        return []
    return [{"name": name, "accuracy": value} for name, value in (cfg.data.floors or {}).items()]


def describe_data(cfg: DictConfig, data: Sources) -> DataFacts:
    """Return which images a run used; `data` must be set up."""
    names, labels = data.classes.names, data.manifest.labels
    return DataFacts(
        source=cfg.data.name,
        fingerprint=data.manifest.fingerprint,
        counts={
            part: {
                name: int((labels[data.split.parts[part]] == label).sum())
                for label, name in enumerate(names)
            }
            for part in PARTS
        },
        split=cfg.split.name,
        disjoint=disjoint(data.split, data.manifest),
        skipped=len(data.manifest.skipped),
    )


def disjoint(split: Split, manifest: Manifest) -> str:
    """Return what no two parts share; the guard has seen them."""
    if split.protocol == "leaky":
        return "views; they do share images"
    if split.warnings:
        return "files and identical copies; they do share groups of related images"
    contents: dict[int, set[str]] = {}
    for group, sha256 in zip(split.groups.tolist(), manifest.sha256, strict=True):
        contents.setdefault(group, set()).add(sha256)
    related = sum(len(found) > 1 for found in contents.values())
    if related:
        return f"files, identical copies and groups of related images ({related} such groups)"
    return "files and identical copies"


def show_mistakes(data: Sources, predictions: Mapping[str, Predictions]) -> Pictures:
    """Return pictures of each part's worst mistakes: as they are, and as the network sees them.

    Args:
        data: set up; embeddings have no pictures.
        predictions: by part, in the order of `data.parts`.
    """
    if not isinstance(data, SmearDataModule):
        return {}
    return {
        part: {row: _views(data, data.parts[part][row]) for row in worst_mistakes(table)}
        for part, table in predictions.items()
    }


def _views(data: SmearDataModule, row: int) -> Views:
    seen = np.asarray(data.pixels()[0][row])
    spec = data.preprocess
    try:
        whole = decode_image(read_bytes(data.root / data.manifest.files[row]))
    except BadImage:  # moved since the cache was built; the report is worth more than a picture
        return {"as the network sees it": seen}
    image = to_square(whole, spec.crop, spec.mask, spec.size)
    if (image == seen).all():
        return {"image": image}
    return {"image": image, "as the network sees it": seen}


def map_method(cfg: DictConfig) -> str | None:
    """Return ``report.map``: tsne, umap or ``None``; runs from before that setting have tsne.

    Raises:
        UserError: it cannot be used.
    """
    method: str | None = OmegaConf.select(cfg, "report.map", default="tsne")
    if method is not None:
        check_method(method)
    return method


def map_embeddings(
    cfg: DictConfig, seen: Mapping[str, Outputs], predictions: Mapping[str, Predictions]
) -> EmbeddingMap | None:
    """Return the images of some parts on a plane, at most 1000 of them.

    The features are those of the images themselves, also where predictions are means over turned
    and mirrored views.

    Args:
        cfg: see `map_method`.
        seen: what the network makes of each part.
        predictions: by part, each in the order of `seen`.
    """
    method = map_method(cfg)
    if method is None:
        return None
    total = sum(len(table.files) for table in predictions.values())
    drawn = draw_rows(total, cfg.seed)
    features = np.concatenate([seen[part].embeddings.numpy() for part in predictions])[drawn]
    points = project(features, seed=cfg.seed, method=method)
    if points is None:
        return None
    return EmbeddingMap(
        points,
        np.concatenate([table.labels for table in predictions.values()])[drawn],
        np.concatenate([table.predicted for table in predictions.values()])[drawn],
        tuple(np.repeat(list(predictions), [len(t.files) for t in predictions.values()])[drawn]),
        next(iter(predictions.values())).classes,
        METHODS[method],
        features.shape[1],
        total,
    )
