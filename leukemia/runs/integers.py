"""Judges many images fast: every core prepares and scores images of its own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from leukemia.data.files.images import BadImage, in_threads
from leukemia.data.files.inputs import Image, prepare, prepare_image
from leukemia.models.int8 import IntegerNetwork, in_integers
from leukemia.runs.finished import FinishedRun

Floats = NDArray[np.float64]

MANY = 64
"""Images from which on the second network is worth making."""

STREAM = 8
"""Images a forward pass: more leave the core's share of the cache."""

SAMPLE = 4
"""Images that both networks score, before the integers are believed."""

WORST = 0.05
"""Largest difference of their probabilities, where there is no doubt, with which they are."""


class Streams:
    """Scores images in 8-bit integers, and again as the run does where that leaves a doubt.

    Args:
        finished: the run; on a CPU, without test-time views.
        network: its network in integers.
        doubtful: probabilities (N, C) to the rows (N,) that the run itself must score.
    """

    def __init__(
        self,
        finished: FinishedRun,
        network: IntegerNetwork,
        doubtful: Callable[[Floats], NDArray[np.bool_]],
    ) -> None:
        """Store the parts."""
        self.finished, self.network, self.doubtful = finished, network, doubtful

    def agree(self, images: Sequence[Image]) -> bool:
        """Whether both networks say the same of a sample of the images, evenly spread."""
        sample = images[:: -(-len(images) // SAMPLE)]
        prepared = prepare(sample, self.finished.preprocess)
        good = [pixels for pixels in prepared if not isinstance(pixels, BadImage)]
        if not good:
            return True
        quick = self._quick(good)
        sure = ~self.doubtful(quick)
        exact = self.finished.judge(np.stack(good))
        return bool((np.abs(quick - exact)[sure, :-1] <= WORST).all())

    def score(self, images: Sequence[Image]) -> Iterator[list[Floats | BadImage]]:
        """Yield one chunk of images after another, in order; the doubtful rows are to be filled.

        Yields:
            For each image its probabilities (C,) or why it cannot be judged. Rows in which
            there is a doubt are filled with the run's own by the time the last chunk is out.
        """
        size = self.finished.cfg.runtime.eval_batch_size
        waiting: list[tuple[Floats, NDArray[np.uint8]]] = []
        chunks = [images[start : start + STREAM] for start in range(0, len(images), STREAM)]
        threads = torch.get_num_threads()
        with _one_thread_each():
            for pixels, scores in in_threads(self._work, chunks, workers=threads, ahead=4):
                rows = iter(zip(scores, self.doubtful(scores), strict=True))
                chunk: list[Floats | BadImage] = []
                for picture in pixels:
                    if isinstance(picture, BadImage):
                        chunk.append(picture)
                        continue
                    row, doubt = next(rows)
                    chunk.append(row)
                    if doubt:
                        waiting.append((row, picture))
                while len(waiting) >= size:
                    self._fill(waiting[:size])
                    del waiting[:size]
                yield chunk
        if waiting:
            self._fill(waiting)

    def _work(self, images: Sequence[Image]) -> tuple[list[NDArray[np.uint8] | BadImage], Floats]:
        pixels = [prepare_image(self.finished.preprocess, image) for image in images]
        return pixels, self._quick([p for p in pixels if not isinstance(p, BadImage)])

    def _quick(self, pixels: list[NDArray[np.uint8]]) -> Floats:
        if not pixels:
            return np.empty((0, len(self.finished.classes) + 1))
        return self.finished.judge(np.stack(pixels), self.network)

    def _fill(self, waiting: list[tuple[Floats, NDArray[np.uint8]]]) -> None:
        exact = self.finished.judge(np.stack([pixels for _, pixels in waiting]))
        for (row, _), found in zip(waiting, exact, strict=True):
            row[:] = found


def make_network(finished: FinishedRun) -> IntegerNetwork | None:
    """Return a run's network in integers, where the run may be scored so.

    That takes ``trainer.precision=auto`` on a CPU that multiplies them fast, one view, and a
    network whose time goes into convolutions.
    """
    cfg, hardware = finished.cfg, finished.hardware
    if cfg.trainer.precision != "auto" or cfg.runtime.tta or hardware.accelerator != "cpu":
        return None
    return in_integers(finished.network, hardware.half or torch.float32)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let each thread compute alone: torch's own would wait for each other at every layer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
