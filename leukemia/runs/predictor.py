"""Judges new images with a finished run: preprocessed, scored and calibrated as it was."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from leukemia.data.files.images import BadImage, from_pil, name_some
from leukemia.data.files.inputs import Image, prepare
from leukemia.data.files.manifest import BadFile
from leukemia.errors import UserError
from leukemia.measure.calibration import apply_temperature
from leukemia.report.scores import Scores, Strange
from leukemia.runs.directory import RunDir
from leukemia.runs.finished import FinishedRun, open_finished
from leukemia.runs.integers import MANY, Streams, make_network
from leukemia.runs.plain import read_json
from leukemia.runs.shared import is_shared, open_shared

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from leukemia.data.datamodule import ArrayDataModule

Floats = NDArray[np.float64]
Given = Image | PIL.Image.Image | torch.Tensor
Pixels = NDArray[np.uint8] | torch.Tensor

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

    def predict(self, images: Given | Sequence[Given] | Pixels) -> Scores:
        """Return what the run says of images.

        Args:
            images: one image or N of them, of any size. An image is a file; an array (H, W, 3) of
                uint8, RGB; an image of PIL; or a tensor (3, H, W) of uint8. Those of one size may
                come as one array (N, H, W, 3) or tensor (N, 3, H, W).

        Returns:
            N rows in the order given; what is no file is called by its number. Its
            ``probabilities`` are an array (N, C), `Scores.to_pandas` makes a table.

        Raises:
            UserError: an array of another shape or type, or a file that is no whole image.
        """
        one = isinstance(images, str | Path | PIL.Image.Image)
        if one or (isinstance(images, np.ndarray | torch.Tensor) and images.ndim == 3):
            several: Iterable[Given] = [cast(Given, images)]
        else:
            several = cast(Iterable[Given], images)
        listed = [_checked(image, number) for number, image in enumerate(several)]
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

    def evaluate(self, folder: str | PathLike[str] | None = None) -> dict[str, Any]:
        """Return the figures of labelled images, without writing anything.

        Args:
            folder: with the run's classes as subfolders; ``None`` for its own test part.

        Raises:
            UserError: the images are not there, or the run was trained on some of them.
        """
        # Here, as predicting alone never waits for Lightning.
        from leukemia.data.split.groups import identical_groups
        from leukemia.measure.metrics import summarize
        from leukemia.measure.predictions import Predictions
        from leukemia.runs.scoring import judge_part, other_folder, own_data

        data: ArrayDataModule
        if folder is None:
            data = own = own_data(self.finished)
            rows = own.parts["test"]
            manifest, groups = own.manifest.take(rows), own.split.groups[rows]
        else:
            data, manifest = other_folder(self.finished, Path(folder).expanduser())
            groups = identical_groups(manifest.sha256)
        scores = judge_part(self.finished, data, "test").probabilities.numpy()
        found = Predictions(manifest.files, manifest.labels, scores, self.classes)
        return summarize(found, groups)

    def explain(self, image: Given, target: str = "predicted") -> "Figure":
        """Return an image beside the heat maps of what the run looks at in it.

        Args:
            image: one image, see `predict`.
            target: what the maps explain: ``predicted``, ``cancer``, or a class by its name.

        Raises:
            UserError: the image cannot be used, or no such target.
        """
        from leukemia.report.attention import METHODS, heat_figure
        from leukemia.runs.explainer import Explainer

        explainer = Explainer(self.finished, target=target)
        (picture,) = explainer.pictures([_checked(image, 0)])
        if isinstance(picture, BadImage):
            raise UserError(f"The image cannot be used: {picture}.")
        flat = self.finished.score(explainer.pixels(picture)[np.newaxis])
        row = self._calibrated(flat)[0]
        explained = explainer.explain(picture, row)
        maps = {METHODS[key][0]: (heat, METHODS[key][1]) for key, heat in explained.maps.items()}
        said = (f"{name} {p:.3f}" for name, p in zip(self.classes.names, row, strict=True))
        return heat_figure(picture, maps, "   ".join(said))

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
        certain = ~self.calibration.uncertain(flat, self.classes)
        doubts = tuple(map(tuple, self.calibration.doubts(flat, self.classes)))
        known, strange = self.finished.known, None
        if known is not None:
            strange = Strange(table[:, -1], table[:, -1] > known.limit)
            certain &= ~strange.flags
        return Scores(tuple(good), flat, certain, self.classes, strange, doubts), tuple(bad)

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


@dataclass(frozen=True)
class Trained:
    """A run as `leukemia.train` returns it.

    Args:
        path: its directory.
    """

    path: Path

    @property
    def metrics(self) -> dict[str, Any]:
        """The figures of metrics.json, by part: ``run.metrics["test"]["accuracy"]``."""
        return read_json(RunDir(self.path).metrics)

    @cached_property
    def predictor(self) -> Predictor:
        """The run, opened to judge images; its classes are trusted, for it was made here."""
        return open_predictor(self.path, trust=True)

    def predict(self, images: Given | Sequence[Given] | Pixels) -> Scores:
        """Return what the run says of images, see `Predictor.predict`."""
        return self.predictor.predict(images)

    def evaluate(self, folder: str | PathLike[str] | None = None) -> dict[str, Any]:
        """Return the figures of labelled images, judged as training's end did.

        That is over as many views as the run was trained to take; see `Predictor.evaluate`.
        """
        finished = open_finished(self.path, trust=True, progress=False)
        return Predictor(finished).evaluate(folder)


def open_predictor(
    run: str | PathLike[str], *, trust: bool = False, **settings: object
) -> Predictor:
    """Open a finished run to judge images with; see `leukemia.load`."""
    path = Path(run).expanduser()
    return Predictor(
        (open_shared if is_shared(path) else open_finished)(
            path,
            trust=trust,
            # As many threads as here are cores, whatever the run was trained with.
            **{"progress": False, "tta": False, "threads": None, **settings},
        )
    )


def _checked(image: Given, number: int) -> Image:
    if isinstance(image, str | Path):
        return image
    if isinstance(image, PIL.Image.Image):
        try:
            return from_pil(image)
        except BadImage as error:
            raise UserError(f"Image {number} cannot be used: {error}.") from error
    if isinstance(image, torch.Tensor):
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
            raise UserError(
                f"Expected image {number} to be a tensor (3, H, W) of uint8, 0 to 255, RGB, but "
                f"got {tuple(image.shape)} of {str(image.dtype).removeprefix('torch.')}."
            )
        image = image.permute(1, 2, 0).cpu().numpy()
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise UserError(
            f"Expected image {number} to be a file, an image of PIL, or an array or tensor of "
            f"uint8, but got {kind}."
        )
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UserError(
            f"Expected image {number} to have the shape (H, W, 3), but got {image.shape}."
        )
    return np.ascontiguousarray(image)  # OpenCV takes no reversed axes
