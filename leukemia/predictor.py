"""Judges new images with a finished run: preprocessed, scored and calibrated as it was."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from leukemia.build.finished import FinishedRun, open_finished
from leukemia.data.files import BadImage, name_some
from leukemia.data.inputs import Image, prepare
from leukemia.data.manifest import BadFile
from leukemia.errors import UserError
from leukemia.report.calibration import apply_temperature
from leukemia.report.scores import Scores


class Predictor:
    """A finished run that judges images.

    Args:
        finished: the run.

    Raises:
        UserError: the run takes no images, or cannot be calibrated.
    """

    def __init__(self, finished: FinishedRun) -> None:
        """Prepare preprocessing and calibration."""
        self.finished = finished
        self.classes, self.preprocess = finished.classes, finished.preprocess
        self.calibration = finished.calibration()

    def predict(self, images: Image | Sequence[Image] | NDArray[np.uint8]) -> Scores:
        """Return what the run says of images.

        Args:
            images: one image or N of them. An image is a file, or an array (H, W, 3) of uint8,
                RGB, of any size; arrays of one size may come as one array (N, H, W, 3).

        Returns:
            N rows in the order given; an array is called by its number.

        Raises:
            UserError: an array of another shape or type, or a file that is no whole image.
        """
        if isinstance(images, str | Path) or (isinstance(images, np.ndarray) and images.ndim == 3):
            images = [images]
        listed = [_checked(image, number) for number, image in enumerate(images)]
        names = [
            str(number if isinstance(image, np.ndarray) else image)
            for number, image in enumerate(listed)
        ]
        scores, bad = self.score(names, listed)
        if bad:
            reasons = [f"'{file.path}' ({file.reason})" for file in bad]
            raise UserError(
                f"{len(bad)} of {len(listed)} images cannot be used: {name_some(reasons)}."
            )
        return scores

    def score(
        self, names: Sequence[str], images: Sequence[Image], *, progress: bool = False
    ) -> tuple[Scores, tuple[BadFile, ...]]:
        """Return what the run says of the images that are good, and the others with reasons.

        Args:
            names: what each image is to be called.
            images: files, or arrays (H, W, 3) of uint8, RGB.
            progress: show a bar, where stderr is a terminal.
        """
        size = self.finished.cfg.trainer.eval_batch_size
        found = [np.empty((0, len(self.classes)))]
        good: list[str] = []
        bad: list[BadFile] = []
        batch: list[NDArray[np.uint8]] = []
        prepared = zip(names, prepare(images, self.preprocess), strict=True)
        disable = None if progress else True
        for name, pixels in tqdm(
            prepared, "predicting", len(names), leave=False, disable=disable, unit="image"
        ):
            if isinstance(pixels, BadImage):
                bad.append(BadFile(name, str(pixels)))
                continue
            good.append(name)
            batch.append(pixels)
            if len(batch) == size:
                found.append(self.finished.score(np.stack(batch)))
                batch.clear()
        if batch:
            found.append(self.finished.score(np.stack(batch)))
        flat = apply_temperature(np.concatenate(found), self.calibration.temperature)
        uncertain = self.calibration.uncertain(flat, self.classes)
        return Scores(tuple(good), flat, ~uncertain, self.classes), tuple(bad)


def open_predictor(run: str | PathLike[str], **trainer: object) -> Predictor:
    """Open a finished run to judge images with; see `leukemia.load`."""
    return Predictor(
        open_finished(Path(run).expanduser(), **{"progress": False, "tta": False, **trainer})
    )


def _checked(image: Image, number: int) -> Image:
    if isinstance(image, str | Path):
        return image
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise UserError(
            f"Expected image {number} to be a file or an array of uint8, but got {kind}."
        )
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UserError(
            f"Expected image {number} to have the shape (H, W, 3), but got {image.shape}."
        )
    return np.ascontiguousarray(image)  # OpenCV takes no reversed axes
