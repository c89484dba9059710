"""Scores a finished run under changes of its images, beside what colour alone makes of them."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from tqdm import tqdm

from leukemia.data.datamodule import SmearDataModule
from leukemia.data.files.images import BadImage, in_threads, read_image
from leukemia.data.image.perturb import MODERATE, STAIN, Perturbation
from leukemia.data.image.preprocess import colour_histogram, mean_colour
from leukemia.data.split.leaky import PooledDataModule
from leukemia.errors import UserError, check_choice, check_count
from leukemia.measure.robustness import Scored, Suite, score
from leukemia.runs.finished import FinishedRun

Image = NDArray[np.uint8]
Judge = Callable[[list[Image]], NDArray[np.int64]]

FLOORS: dict[str, Callable[[Image], NDArray[np.float64]]] = {
    "colour histogram": colour_histogram,
    "mean colour": mean_colour,
}
_BATCH = 64


def run_suite(
    finished: FinishedRun,
    data: SmearDataModule,
    part: str,
    *,
    perturbations: Sequence[str] | None = None,
    strengths: Sequence[int] = (1, 2, 3, 4, 5),
    limit: int | None = None,
    title: str,
    progress: bool = True,
) -> Suite:
    """Score a part as it is and under each perturbation, with the run and the colour floors.

    An image is changed as it was photographed, before mask and crop. Directions and donors are
    drawn by row from the run's seed: the same for every strength, and in every run. A donor is a
    training image of another group, where there is one.

    Args:
        finished: the run.
        data: its own images, set up.
        part: the part to score.
        perturbations: names in `STAIN`; ``None`` for all.
        strengths: of 1 to 5.
        limit: images at most, evenly over the part; ``None`` for all.
        title: heading of the page.
        progress: show a bar, where stderr is a terminal.

    Raises:
        UserError: an unknown perturbation, a strength that is none of 1 to 5, a limit below 1,
            or a run on augmented views, which are no photographs.
    """
    names = list(STAIN) if perturbations is None else perturbations
    _check(names, strengths, limit, data)
    rows = data.parts[part]
    if limit is not None and limit < len(rows):
        rows = rows[np.linspace(0, len(rows) - 1, limit).round().astype(int)]
    labels, groups = data.manifest.labels[rows], data.split.groups[rows]
    judges: dict[str, Judge] = {"run": partial(_judged, finished), **_floors(data)}
    changes = [(name, strength) for name in names for strength in sorted(set(strengths))]
    scored: list[Scored] = []
    bar = tqdm(
        total=len(rows) * (1 + len(changes)),
        desc="suite",
        unit="image",
        leave=False,
        disable=None if progress else True,
    )
    with bar:
        for name, strength in [("none", 0), *changes]:
            change = STAIN[name] if strength else None
            found: dict[str, list[NDArray[np.int64]]] = {model: [] for model in judges}
            for batch in _batches(_changed(data, rows, change, strength, finished.cfg.seed)):
                for model, judge in judges.items():
                    found[model].append(judge(batch))
                bar.update(len(batch))
            value = change.values[strength - 1] if change else 0.0
            for model, parts in found.items():
                figures = score(np.concatenate(parts), labels, finished.classes, groups)
                scored.append(Scored(name, strength, value, model, *figures))
    moderate = [strength for strength in MODERATE if strength in strengths]
    says = {name: STAIN[name].says for name in names}
    return Suite(title, len(rows), moderate, says, scored, data.split.warnings)


def _check(
    names: Sequence[str], strengths: Sequence[int], limit: int | None, data: SmearDataModule
) -> None:
    if isinstance(data, PooledDataModule):
        raise UserError(
            "A suite changes photographs, and split=leaky has augmented views: "
            "name a run of another split."
        )
    for key, values in (("perturbations", names), ("strengths", strengths)):
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise UserError(f"Expected suite.{key} to be a list of one or more, but got {values}.")
    for name in names:
        check_choice("each of suite.perturbations", name, STAIN)
    if any(strength not in range(1, 6) for strength in strengths):
        raise UserError(f"Expected suite.strengths to be of 1 to 5, but got {list(strengths)}.")
    if limit is not None:
        check_count("suite.limit", limit)


def _changed(
    data: SmearDataModule,
    rows: NDArray[np.int64],
    change: Perturbation | None,
    strength: int,
    seed: int,
) -> Iterator[Image]:
    train, groups = data.parts["train"], data.split.groups

    def make(row: int) -> Image:
        rgb = _read(data, row)
        if change is None:
            return rgb
        others = train[groups[train] != groups[row]]  # none where all of train is one group
        donors = others if len(others) else train
        donor = int(np.random.default_rng((seed, row)).choice(donors))
        return change(rgb, strength, (seed, row), _read(data, donor))

    return in_threads(make, [int(row) for row in rows], ahead=2 * _BATCH)


def _read(data: SmearDataModule, row: int) -> Image:
    path = data.root / data.manifest.files[row]
    try:
        return read_image(path)
    except BadImage as error:
        raise UserError(f"'{path}' has changed just now: {error}. Start again.") from error


def _batches(images: Iterator[Image]) -> Iterator[list[Image]]:
    batch: list[Image] = []
    for image in images:
        batch.append(image)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _judged(finished: FinishedRun, images: list[Image]) -> NDArray[np.int64]:
    pixels = np.stack([finished.preprocess(image) for image in images])
    predicted: NDArray[np.int64] = finished.score(pixels).argmax(1)
    return predicted


def _floors(data: SmearDataModule) -> dict[str, Judge]:
    """Fit a support vector machine to each colour feature of the training part."""
    train = data.parts["train"]
    labels = data.manifest.labels[train]
    features = list(
        in_threads(
            lambda row: [find(_read(data, row)) for find in FLOORS.values()],
            [int(row) for row in train],
        )
    )
    judges: dict[str, Judge] = {}
    for column, (name, find) in enumerate(FLOORS.items()):
        machine = make_pipeline(StandardScaler(), SVC(C=10.0))
        machine.fit(np.stack([row[column] for row in features]), labels)
        judges[name] = partial(_by_colour, machine.predict, find)
    return judges


def _by_colour(
    predict: Callable[[NDArray[np.float64]], NDArray[np.int64]],
    find: Callable[[Image], NDArray[np.float64]],
    images: list[Image],
) -> NDArray[np.int64]:
    return predict(np.stack([find(image) for image in images]))
