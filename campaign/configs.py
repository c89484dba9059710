"""Fuzzed configurations: the tests know how, here they are counted."""

from functools import partial
from importlib.util import find_spec

from campaign.record import FAILED, Case, Part
from campaign.warm import side_by_side

BATCH = 250  # cases a process


def is_known() -> bool:
    """Whether this checkout has the tests that fuzz."""
    return find_spec("tests.fuzz") is not None


def attack(*, cases: int, seed: int, jobs: int) -> Part:
    """Try configurations that nobody meant, see `tests.fuzz`.

    Args:
        cases: how many.
        seed: of the draws.
        jobs: processes.
    """
    sizes = [min(BATCH, cases - done) for done in range(0, cases, BATCH)]
    counts: dict[str, int] = {}
    failures: list[str] = []
    for counted, failed in side_by_side(partial(_batch, seed), list(enumerate(sizes)), jobs):
        for kind, count in counted.items():
            counts[kind] = counts.get(kind, 0) + count
        failures += failed
    return Part(
        "configs",
        "accepted, or refused by one line; no traceback, no hang",
        [
            Case("failed", str(number), *failure.partition(": ")[::2], FAILED)
            for number, failure in enumerate(sorted(failures))
        ],
        {"seeds of the batches": [_seed(seed, number) for number in range(len(sizes))]},
        counts,
    )


def _seed(seed: int, number: int) -> int:
    return 1000 * seed + number


def _batch(seed: int, batch: tuple[int, int]) -> tuple[dict[str, int], list[str]]:
    from tests.fuzz import fuzz

    number, cases = batch
    found = fuzz(cases, _seed(seed, number))
    return dict(found.counts), list(found.failures)
