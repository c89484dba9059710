import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from leukemia.errors import UserError
from leukemia.measure.ood import fit_known, read_known

RANDOM = np.random.default_rng(0)
NEAR = RANDOM.normal(size=(200, 16)) + 5 * np.eye(16)[0]
FAR = RANDOM.normal(size=(50, 16)) - 5 * np.eye(16)[0]


def test_the_score_is_the_distance_to_the_nearest_of_length_one():
    known = fit_known(NEAR)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (NEAR, FAR)]
    nearest = NearestNeighbors(n_neighbors=1).fit(unit[0]).kneighbors(unit[1])[0][:, 0]
    np.testing.assert_allclose(known.score(FAR), nearest, atol=1e-6)


def test_the_limit_accepts_95_of_100_when_none_vouches_for_itself():
    unit = NEAR / np.linalg.norm(NEAR, axis=1, keepdims=True)
    others = NearestNeighbors(n_neighbors=2).fit(unit).kneighbors(unit)[0][:, 1]
    limit = fit_known(NEAR).limit
    assert np.mean(others <= limit + 1e-6) == pytest.approx(0.95, abs=0.006)


def test_other_images_lie_beyond_the_limit_and_new_ones_of_the_kind_do_not():
    known = fit_known(NEAR)
    again = RANDOM.normal(size=(50, 16)) + 5 * np.eye(16)[0]
    assert (known.score(FAR) > known.limit).all()
    assert np.mean(known.score(again) > known.limit) < 0.2


def test_a_single_image_sets_no_limit():
    assert fit_known(NEAR[:1]).limit == np.inf


def test_what_is_saved_is_read_back(tmp_path):
    known = fit_known(NEAR)
    known.save(tmp_path / "ood.npz")
    again = read_known(tmp_path / "ood.npz")
    np.testing.assert_array_equal(again.bank, known.bank)
    assert again.limit == known.limit


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_another_file_is_refused_with_the_remedy(tmp_path, content):
    (tmp_path / "ood.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"ood\.npz' cannot be used: .*train the run anew"):
        read_known(tmp_path / "ood.npz")
