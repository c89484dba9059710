"""What W&B shows of a part beside its figures: charts, and a table of the worst mistakes."""

from typing import TYPE_CHECKING, Any

import numpy as np
import wandb
from numpy.typing import NDArray
from PIL import Image

from leukemia.measure.predictions import Predictions
from leukemia.report.sections.mistakes import worst_mistakes

if TYPE_CHECKING:
    from leukemia.data.datamodule import ArrayDataModule

_SIDE = 256  # pixels, longest side of an image in a table


def charts(part: str, table: Predictions) -> dict[str, Any]:
    """Confusion matrix, ROC and precision-recall curve, by key: ``val/roc``.

    Args:
        part: comes before every key.
        table: the predictions. Without cancer, or without benign images, there are no curves;
            W&B thins those of many images out.
    """
    names = list(table.classes.names)
    found: dict[str, Any] = {
        f"{part}/confusion": wandb.plot.confusion_matrix(
            y_true=table.labels.tolist(),
            preds=table.predicted.tolist(),
            class_names=names,
            title=f"{part}: confusion",
        )
    }
    if table.classes.has_cancer and 0 < table.cancer.mean() < 1:
        shared: dict[str, Any] = {
            "y_true": table.cancer.astype(int),
            "y_probas": np.stack([1 - table.p_cancer, table.p_cancer], axis=1),
            "labels": [table.classes.benign_words, "cancer"],
            "classes_to_plot": [1],
        }
        found |= {
            f"{part}/roc": wandb.plot.roc_curve(**shared, title=f"{part}: ROC, cancer"),
            f"{part}/pr": wandb.plot.pr_curve(**shared, title=f"{part}: precision-recall, cancer"),
        }
    return found


def mistakes_table(
    part: str, table: Predictions, data: "ArrayDataModule", most: int
) -> "wandb.Table":
    """The worst mistakes, as `worst_mistakes` orders them.

    Args:
        part: whose rows ``table`` holds, in the order of ``data.parts``.
        table: the predictions.
        data: its images are shown, as the network saw them; embeddings have none.
        most: rows at most; with 0 no image leaves the machine.
    """
    worst = worst_mistakes(table, most)
    names = table.classes.names
    columns: list[str | int] = [
        "file",
        "label",
        "prediction",
        *(["p_cancer"] if table.classes.has_cancer else []),
        *(f"p_{name}" for name in names),
    ]
    rows = [
        [
            table.files[i],
            names[table.labels[i]],
            names[table.predicted[i]],
            *([float(table.p_cancer[i])] if table.classes.has_cancer else []),
            *table.probabilities[i].tolist(),
        ]
        for i in worst
    ]
    if data.array is None or data.embed_dim is not None:
        return wandb.Table(columns, rows)
    images = data.array[data.parts[part][worst]]
    return wandb.Table(
        ["image", *columns], [[_picture(x), *row] for x, row in zip(images, rows, strict=True)]
    )


def _picture(pixels: NDArray[np.uint8]) -> "wandb.Image":
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE))
    return wandb.Image(image, file_type="jpg")
