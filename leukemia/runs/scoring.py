"""The images that a finished run is scored on: its own parts, or another folder."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from omegaconf import OmegaConf
from tqdm import tqdm

from leukemia.compose.data import Sources, build_data
from leukemia.compose.model import build_judge
from leukemia.compose.preprocess import build_layout, cache_dir
from leukemia.data.cache import open_pixels
from leukemia.data.datamodule import ArrayDataModule, SmearDataModule, fit_workers
from leukemia.data.files.folders import layout_here
from leukemia.data.files.images import BadImage, name_some
from leukemia.data.files.inputs import prepare
from leukemia.data.files.manifest import Manifest, build_manifest
from leukemia.data.split.guard import SIDE, shared_images, thumbnails
from leukemia.data.split.parts import Split, read_split, read_table
from leukemia.errors import UserError
from leukemia.models.network import Outputs
from leukemia.runs.finished import FinishedRun
from leukemia.settings.settled import take_over
from leukemia.training.stage import predict


def own_data(finished: FinishedRun, root: str | None = None) -> Sources:
    """Return the run's own data, set up, with the parts of its split.csv.

    Args:
        finished: the run.
        root: where the images are now; ``None`` for where they were.

    Raises:
        UserError: the images are not there, or no longer the same.
    """
    cfg = finished.cfg.copy()
    if root is not None:
        cfg.data.root = root
    cfg.open_test = True  # whatever the run did: here the files must be what its split lists
    data = build_data(cfg)
    if isinstance(data, SmearDataModule):
        data.on_bad = "skip"  # one of the run's that went bad is named with the split
        if not data.root.is_dir():
            raise UserError(
                f"The images of '{finished.run.path}' are no longer in '{data.root}': name the "
                f"folder where they are now by data.root=, together with part=."
            )
    data.splitter = partial(_own_parts, finished)
    data.prepare_data()
    data.setup()
    fit_workers(data)
    return data


def placed(finished: FinishedRun, values: Mapping[str, Any]) -> FinishedRun:
    """Return a finished run whose images and caches lie elsewhere, see `leukemia.settings.settled`.

    Args:
        finished: the run.
        values: settings of the machine by name; what is ``None``, or as the run has it, stays.
    """
    known = {
        key: value
        for key, value in values.items()
        if value is not None and value != OmegaConf.select(finished.cfg, key)
    }
    return replace(finished, cfg=take_over(finished.cfg, known))


def other_folder(finished: FinishedRun, root: Path) -> tuple[ArrayDataModule, Manifest]:
    """Return another folder with the run's classes, all of it in the part ``test``.

    Its files tell their classes as those of the run do, or by one subfolder a class.

    Raises:
        UserError: the folder does not have the run's classes, holds unreadable images, or some
            that the run was trained or selected on.
    """
    preprocess, folder, data = finished.preprocess, cache_dir(finished.cfg), finished.cfg.data
    classes, layout = finished.classes, build_layout(finished.cfg)
    manifest = build_manifest(
        root,
        classes,
        layout=(layout_here(root, classes, layout) if root.is_dir() else None) or layout,
        fixed=True,
        on_bad=data.on_bad,
        cache_dir=folder,
        workers=data.workers,
        verify=True,
    )
    pixels = open_pixels(root, manifest, preprocess, folder, workers=data.workers)
    refuse_known(finished, manifest, pixels)
    parts = {"test": np.arange(len(manifest))}
    return ArrayDataModule(pixels, manifest.labels, parts), manifest


def tells_classes(finished: FinishedRun, root: Path) -> bool:
    """Whether a folder tells any of the run's classes, by subfolders or as its own images do."""
    return layout_here(root, finished.classes, build_layout(finished.cfg)) is not None


def refuse_known_files(
    finished: FinishedRun, names: Sequence[str], paths: Sequence[Path], *, progress: bool = False
) -> None:
    """Refuse files that the run was trained or selected on, whatever folders they lie in.

    Args:
        finished: the run.
        names: what each file is called.
        paths: where it is; what cannot be read is no image that the run knows.
        progress: show a bar, where stderr is a terminal.

    Raises:
        UserError: as `refuse_known`.
    """
    good: list[str] = []
    hashes: list[str] = []
    disable = None if progress else True

    def pictures() -> Iterator[npt.NDArray[np.uint8]]:
        read = zip(names, paths, prepare(paths, finished.preprocess), strict=True)
        for name, path, pixels in tqdm(
            read, "looking for known images", len(names), leave=False, disable=disable, unit="image"
        ):
            if not isinstance(pixels, BadImage):
                good.append(name)
                hashes.append(hashlib.sha256(path.read_bytes()).hexdigest())
                yield pixels

    small = thumbnails(pictures())
    if len(small):
        _refuse_known(finished, good, hashes, small)


def refuse_known(finished: FinishedRun, manifest: Manifest, pixels: npt.NDArray[np.uint8]) -> None:
    """Refuse images that the run was trained or selected on, also changed copies of them.

    Args:
        finished: the run.
        manifest: the N images.
        pixels: the same, preprocessed, (N, size, size, 3).

    Raises:
        UserError: some are known to the run; they are named with their twins.
    """
    _refuse_known(finished, manifest.files, manifest.sha256, thumbnails(pixels))


def _refuse_known(
    finished: FinishedRun,
    files: Sequence[str],
    sha256: Sequence[str],
    small: npt.NDArray[np.uint8],
) -> None:
    run = finished.run
    table = read_table(run.split)
    kept = [i for i, row in enumerate(table) if row["part"] in ("train", "val")]
    seen = [table[i] for i in kept]
    by_content = {row["sha256"]: row for row in seen}
    near = dict(shared_images(small, _read_thumbnails(run.thumbnails, len(table))[kept]))
    twins = [
        by_content.get(content) or (seen[near[i]] if i in near else None)
        for i, content in enumerate(sha256)
    ]
    known = [
        f"'{file}' is '{twin['file']}' ({twin['part']})"
        for file, twin in zip(files, twins, strict=True)
        if twin
    ]
    if known:
        raise UserError(
            f"{len(known)} of {len(files)} images are known to '{run.path}' from its training: "
            f"{name_some(known)}. Take them out: their figures would flatter. (If this is the "
            f"run's own folder in a new place, give part= too.)"
        )


def _read_thumbnails(path: Path, n: int) -> npt.NDArray[np.uint8]:
    """Return the thumbnails (N, 32, 32) of the images that a run's split.csv lists."""
    try:
        found = np.load(path, allow_pickle=False)
        if found.shape != (n, SIDE, SIDE) or found.dtype != np.uint8:
            raise ValueError(f"{found.dtype} of shape {found.shape} for {n} images")
    # What is no array makes numpy raise nearly anything.
    except Exception as error:
        raise UserError(
            f"The thumbnails '{path}' cannot be used: {error}. Bring the file back from a copy, or "
            f"train the run anew."
        ) from error
    return np.asarray(found)


def judge_part(
    finished: FinishedRun, data: ArrayDataModule, part: str, *, single: bool = False
) -> Outputs:
    """Return what the run makes of a part, computed as training's end did.

    Args:
        finished: the run.
        data: set up, with the part.
        part: train, val or test.
        single: one view of each image, also where the run averages over eight.
    """
    data.eval_batch_size = finished.cfg.runtime.eval_batch_size
    module = build_judge(finished.cfg, finished.network).eval()
    module.tta &= not single
    whose = f"the run '{finished.run.path}'"
    return predict(module, data.loader(part), finished.hardware, whose)


def strangeness(finished: FinishedRun, embeddings: torch.Tensor) -> npt.NDArray[np.bool_] | None:
    """Return which images are out of distribution, (N,); None for a run of embeddings.

    Args:
        finished: the run.
        embeddings: of the images, (N, d).
    """
    if finished.known is None:
        return None
    return np.asarray(finished.known.score(embeddings.numpy()) > finished.known.limit)


def _own_parts(finished: FinishedRun, manifest: Manifest, groups: npt.NDArray[np.int64]) -> Split:
    bad = {file.path: file.reason for file in manifest.skipped}
    if bad:
        listed = [row["file"] for row in read_table(finished.run.split)]
        if lost := [f"'{file}' ({bad[file]})" for file in listed if file in bad]:
            raise UserError(
                f"{len(lost)} images of '{finished.run.path}' cannot be read: {name_some(lost)}. "
                f"Bring them back."
            )
    split = read_split(finished.run.split, manifest, finished.classes)
    return replace(split, protocol=finished.cfg.split.name)
