from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from leukemia.errors import UserError
from leukemia.report.embedding_map import check_method, draw_rows, embedding_scatter, project
from tests.report.samples import random_predictions, scattered


def clouds(n=90, d=64, seed=0):
    """Three clouds far apart, and which cloud each row is of."""
    rng = np.random.default_rng(seed)
    member = np.arange(n) % 3
    return (10 * rng.normal(size=(3, d))[member] + rng.normal(size=(n, d))), member


METHODS = [
    "tsne",
    pytest.param(
        "umap",
        marks=pytest.mark.skipif(find_spec("umap") is None, reason="umap-learn is not installed"),
    ),
]


@pytest.mark.parametrize("method", METHODS)
def test_neighbours_stay_neighbours(method):
    embeddings, member = clouds()
    points = project(embeddings.astype(np.float32), seed=0, method=method)
    assert points.shape == (90, 2)
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (member[distance.argmin(axis=1)] == member).all()
    assert trustworthiness(embeddings, points, n_neighbors=10) > 0.8


@pytest.mark.parametrize("method", METHODS)
def test_equal_seeds_give_equal_points(method):
    embeddings, _ = clouds(40)
    first, again = (project(embeddings, seed=3, method=method) for _ in range(2))
    assert first.tolist() == again.tolist()


def test_what_has_no_neighbourhood_is_not_mapped():
    assert project(np.zeros((4, 3)), seed=0) is None
    assert project(np.ones((50, 3)), seed=0) is None
    assert project(clouds(5)[0], seed=0).shape == (5, 2)
    assert project(np.arange(20.0)[:, None], seed=0).shape == (20, 2)
    with pytest.raises(UserError, match="finite"):
        project(np.full((9, 2), np.nan), seed=0)


def test_a_method_that_cannot_be_used_is_refused(monkeypatch):
    with pytest.raises(UserError, match=r"report\.map to be one of .*'tsne', 'umap'.* 'pca'"):
        check_method("pca")
    monkeypatch.setattr("leukemia.report.embedding_map.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install umap-learn"):
        check_method("umap")
    check_method("tsne")


def test_of_many_images_as_many_as_are_cheap_are_drawn():
    assert draw_rows(3, seed=0).tolist() == [0, 1, 2]
    drawn = draw_rows(5000, seed=0)
    assert len(set(drawn.tolist())) == 1000
    assert (np.diff(drawn) > 0).all()
    assert drawn.tolist() == draw_rows(5000, seed=0).tolist() != draw_rows(5000, seed=1).tolist()


def test_every_image_is_drawn_once_and_mistakes_are_ringed():
    parts = {"val": random_predictions(40), "test": random_predictions(60, seed=1)}
    found = scattered(parts)
    figure = embedding_scatter(found)
    (axes,) = figure.axes
    *clouds_drawn, rings = axes.collections
    drawn = np.concatenate([cloud.get_offsets() for cloud in clouds_drawn])
    assert sorted(map(tuple, drawn)) == sorted(map(tuple, found.points))
    wrong = found.points[found.labels != found.predicted]
    assert sorted(map(tuple, rings.get_offsets())) == sorted(map(tuple, wrong))
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == ["Benign", "Early", "Pre", "Pro", "val", "test", f"mistake ({len(wrong)})"]
    assert [text.get_text() for text in axes.texts] == ["Benign", "Early", "Pre", "Pro"]
    colours = {tuple(cloud.get_facecolor()[0]) for cloud in clouds_drawn}
    assert len(colours) == 4
