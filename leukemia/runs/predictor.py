"""Judges new images with a finished run: preprocessed, scored and calibrated as it was."""

from collections.abc import Iterator, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from leukemia.data.files.images import BadImage, name_some
from leukemia.data.files.inputs import Image, prepare
from leukemia.data.files.manifest import BadFile
from leukemia.errors import UserError
from leukemia.measure.calibration import apply_temperature
from leukemia.report.scores import Scores, Strange
from leukemia.runs.finished import FinishedRun, open_finished
from leukemia.runs.integers import MANY, Streams, make_network

Floats = NDArray[np.float64]

SURE, SLACK = 0.95, 0.5
"""Of a quick answer: the least top probability, and the change of its log-odds to allow for."""


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
        good: list[str] = []
        bad: list[BadFile] = []
        found: list[Floats] = []
        left = iter(names)
        # None: only where stderr is a terminal.
        disable = None if progress else True
        with tqdm(
            desc="predicting", total=len(names), leave=False, disable=disable, unit="image"
        ) as bar:
            for chunk in self._chunks(images):
                for result in chunk:
                    name = next(left)
                    if isinstance(result, BadImage):
                        bad.append(BadFile(name, str(result)))
                    else:
                        good.append(name)
                        found.append(result)
                bar.update(len(chunk))
        table = np.array(found).reshape(len(found), len(self.classes) + 1)
        flat = self._calibrated(table[:, :-1])
        uncertain = self.calibration.uncertain(flat, self.classes)
        known = self.finished.known
        strange = None if known is None else Strange(table[:, -1], table[:, -1] > known.limit)
        return Scores(tuple(good), flat, ~uncertain, self.classes, strange), tuple(bad)

    def _calibrated(self, scores: Floats) -> Floats:
        return apply_temperature(scores, self.calibration.temperature)

    def _chunks(self, images: Sequence[Image]) -> Iterator[list[Floats | BadImage]]:
        """Yield some images after others: of each `FinishedRun.judge`'s row, or what is wrong."""
        network = make_network(self.finished) if len(images) >= MANY else None
        if network is not None:
            streams = Streams(self.finished, network, self._doubtful)
            if streams.agree(images):
                yield from streams.score(images)
                return
        size = self.finished.cfg.runtime.eval_batch_size
        prepared = prepare(images, self.preprocess)
        while chunk := list(islice(prepared, size)):
            good = [pixels for pixels in chunk if not isinstance(pixels, BadImage)]
            rows = iter(self.finished.judge(np.stack(good)) if good else ())
            yield [item if isinstance(item, BadImage) else next(rows) for item in chunk]

    def _doubtful(self, rows: Floats) -> NDArray[np.bool_]:
        flat = self._calibrated(rows[:, :-1])
        near = self.calibration.close(flat, self.classes, SLACK)
        # Also what is no number, such as a sum beyond range.
        return np.asarray(near | ~(flat.max(axis=1) >= SURE))


def open_predictor(
    run: str | PathLike[str], *, trust: bool = False, **settings: object
) -> Predictor:
    """Open a finished run to judge images with; see `leukemia.load`."""
    return Predictor(
        open_finished(
            Path(run).expanduser(),
            trust=trust,
            # As many threads as here are cores, whatever the run was trained with.
            **{"progress": False, "tta": False, "threads": None, **settings},
        )
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
