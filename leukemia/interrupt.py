"""Ctrl-C, and the signal by which a cluster's time limit or a shutdown ends a process."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_terminated: list[int] = []


@contextmanager
def caught() -> Iterator[None]:
    """Let SIGTERM end a verb as Ctrl-C does: with what was written whole, and one line."""
    own = threading.current_thread() is threading.main_thread()
    # Whoever has a handler of their own, such as submitit, keeps it.
    if not own or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    _terminated.clear()
    signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def told(remedy: str = "") -> tuple[str, int]:
    """Return the line that a verb which was stopped ends with, and its exit status.

    Args:
        remedy: how to go on, if there is a way.
    """
    line, status = ("terminated", 143) if _terminated else ("interrupted", 130)
    return f"{line}: {remedy}" if remedy else line, status


def _stop(number: int, frame: FrameType | None) -> None:
    if not _terminated:  # a second one must not disturb the end of the first
        _terminated.append(number)
        raise KeyboardInterrupt
