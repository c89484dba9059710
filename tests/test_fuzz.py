"""No configuration ends in a traceback or never: a thousand that nobody meant."""

import pytest

from tests.fuzz import fuzz


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_a_thousand_configurations_are_accepted_or_refused_in_one_line(seed: int):
    found = fuzz(1000, seed)
    print(f"seed {seed}: {dict(found.counts)}")
    assert found.failures == []
    assert min(found.counts["accepted"], found.counts["refused"]) > 50
