"""Building the cache of masked and cropped pixels."""

import shutil
import time

from benchmarks.scene import Scene
from benchmarks.timing import Row, alone, alternate
from leukemia.compose.preprocess import build_preprocess
from leukemia.data.cache import open_pixels
from leukemia.data.files.images import read_image


def measure(scene: Scene) -> list[Row]:
    """Compare images a second with a loop of one thread, and count the cores at work."""
    preprocess = build_preprocess(scene.settings())
    cores: list[float] = []

    def ours() -> float:
        fresh = scene.folder / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        wall, cpu = time.perf_counter(), time.process_time()
        open_pixels(scene.root, scene.manifest, preprocess, fresh)
        cores.append((time.process_time() - cpu) / (time.perf_counter() - wall))
        return len(scene.manifest)

    def loop() -> float:
        return len([preprocess(read_image(file)) for file in scene.files])

    rates = alternate(
        "cache build", "images/s", {"open_pixels": ours, "one-thread loop": loop}, scene.rounds
    )
    busy = alone("cache build", "cores at work", "cores", cores)
    return [rates.row("open_pixels", "one-thread loop"), busy]
