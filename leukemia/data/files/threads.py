"""Threads that prepare images, in order and a bounded way ahead."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    ahead: int = 128,
) -> Iterator[Result]:
    """Yield what a function makes of each item, in their order, while threads work ahead.

    Args:
        work: is called in the threads; what it raises is raised here.
        items: are taken from this thread.
        workers: threads; ``None`` for one a core.
        ahead: results that may wait to be taken.
    """
    # OpenCV and Pillow leave Python's lock while they work; OpenCV's own threads would fight
    # with these.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(threads)
