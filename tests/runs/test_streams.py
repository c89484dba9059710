"""Many images judged in 8-bit integers, against the run's own network."""

from pathlib import Path

import numpy as np
import pytest
from torch import nn

import leukemia
from leukemia.models.int8 import is_fast
from leukemia.models.network import Network
from leukemia.runs.predictor import Predictor

pytestmark = pytest.mark.skipif(not is_fast(), reason="this processor has no 8-bit products")


@pytest.fixture(scope="module")
def smears(resnet: Path, cache: Path) -> list[Path]:
    """20 of the painted smears that the run was trained on."""
    return sorted(next(cache.glob("synthetic-20-*")).rglob("*.jpg"))[::4]


@pytest.fixture(autouse=True)
def _many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leukemia.runs.predictor.MANY", 18)


@pytest.fixture(scope="module")
def quick(resnet: Path) -> Predictor:
    return leukemia.load(resnet)


@pytest.fixture(scope="module")
def plain(resnet: Path, quick: Predictor) -> Predictor:
    """In the precision that `auto` means to training here."""
    return leukemia.load(resnet, precision=quick.finished.hardware.precision)


@pytest.fixture
def sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer in integers leaves a doubt."""
    monkeypatch.setattr("leukemia.runs.predictor.SURE", 0)
    monkeypatch.setattr("leukemia.runs.predictor.SLACK", 0)


def test_answers_in_integers_stay_near_the_run_s_own(quick, plain, smears, sure):
    found, expected = quick.predict(smears), plain.predict(smears)
    assert found.files == expected.files
    distance = np.abs(found.probabilities - expected.probabilities).max(axis=1)
    assert 0 < distance.max() <= 0.02


def test_a_run_that_is_never_sure_gets_its_own_answers(quick, plain, smears):
    found, expected = quick.predict(smears), plain.predict(smears)
    assert expected.probabilities.max() < 0.95
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    np.testing.assert_array_equal(found.certain, expected.certain)


def test_only_doubtful_images_are_scored_again(quick, plain, smears, sure, monkeypatch):
    integers = quick.predict(smears).probabilities
    monkeypatch.setattr(Predictor, "_doubtful", lambda self, scores: np.arange(len(scores)) % 2 > 0)
    found = quick.predict(smears).probabilities
    np.testing.assert_array_equal(found[::2], integers[::2])
    own = plain.predict(smears[1::2]).probabilities  # the last bits depend on the batch
    np.testing.assert_array_equal(found[1::2], own)


class Louder(nn.Module):
    def forward(self, logits):
        return 1000 * logits


def test_integers_that_disagree_are_not_believed(quick, plain, smears, sure, monkeypatch):
    def wrong(network, dtype):
        return Network(network.normalize, network.backbone, nn.Sequential(network.head, Louder()))

    monkeypatch.setattr("leukemia.runs.integers.in_integers", wrong)
    np.testing.assert_array_equal(
        quick.predict(smears).probabilities, plain.predict(smears).probabilities
    )


@pytest.mark.parametrize("settings", [{"precision": "32-true"}, {"tta": True}])
def test_an_asked_for_precision_and_several_views_are_never_in_integers(
    resnet, smears, settings, monkeypatch
):
    def refuse(*_):
        raise AssertionError("in integers")

    monkeypatch.setattr("leukemia.runs.integers.in_integers", refuse)
    assert len(leukemia.load(resnet, **settings).predict(smears)) == 20


def test_bad_files_keep_their_places(quick, plain, smears, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("no image")
    images = [*smears[:3], bad, *smears[3:17], bad]
    names = [str(number) for number in range(len(images))]
    scores, left_out = quick.score(names, images)
    assert [file.path for file in left_out] == ["3", "18"]
    assert scores.files == tuple(names[:3] + names[4:18])
    expected = plain.predict(smears[:17]).probabilities
    np.testing.assert_allclose(scores.probabilities, expected, rtol=0, atol=0.01)
    none, all_bad = quick.score(names, [bad] * 19)
    assert (len(none), len(all_bad)) == (0, 19)
