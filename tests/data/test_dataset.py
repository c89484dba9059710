"""Batches and tables, and embeddings from a file."""

import numpy as np
import pytest
import torch

from leukemia.classes import Classes
from leukemia.data.cache import read_embeddings
from leukemia.data.datamodule import Batches, Rows
from leukemia.errors import UserError


def drawn(batches: Batches, epoch: int) -> list[list[int]]:
    batches.set_epoch(epoch)
    keys = list(batches)
    assert {e for batch in keys for e, _ in batch} == {epoch}
    return [[row for _, row in batch] for batch in keys]


def test_an_epoch_holds_every_row_once_in_an_order_of_its_own():
    rows = np.array([3, 5, 8, 13, 21])
    batches = Batches(rows, 2, shuffle=True, seed=0)
    first = drawn(batches, 0)
    # The last row alone would be a batch without statistics: it waits for the next epoch.
    assert list(map(len, first)) == [2, 2]
    assert len(batches) == 2
    even = Batches(rows[:4], 2, shuffle=True, seed=0)
    assert sorted(row for batch in drawn(even, 0) for row in batch) == [3, 5, 8, 13]
    assert drawn(even, 0) == drawn(Batches(rows[:4], 2, shuffle=True, seed=0), 0)
    assert len({str(drawn(even, epoch)) for epoch in range(8)}) > 1


def test_evaluation_keeps_order_and_every_row():
    batches = Batches(np.array([4, 2, 9]), 2, shuffle=False, seed=0)
    assert drawn(batches, 0) == [[4, 2], [9]]
    assert len(batches) == 2


def test_images_come_out_with_channels_first_and_embeddings_as_they_are():
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    labels = np.array([1, 0])
    inputs, found = Rows(images, labels)[[(0, 1), (0, 0)]]
    assert inputs.shape == (2, 3, 4, 5)
    assert inputs.dtype == torch.uint8
    assert inputs[0, 2, 3, 4] == images[1, 3, 4, 2]
    assert found.tolist() == [0, 1]
    table = np.ones((2, 7), np.float32)
    assert Rows(table, labels)[[(0, 0)]][0].shape == (1, 7)


def save(path, embeddings, files):
    np.savez(path, embeddings=np.array(embeddings, np.float32), files=np.array(files))
    return path


def test_embeddings_are_read_with_their_labels(tmp_path):
    file = save(
        tmp_path / "e.npz", [[1, 2], [3, 4], [1, 2]], ["Pro/9.jpg", "Benign/1.jpg", "Pro/8.jpg"]
    )
    table, manifest = read_embeddings(file, Classes())
    assert table.tolist() == [[1, 2], [3, 4], [1, 2]]
    assert manifest.labels.tolist() == [3, 0, 3]
    assert manifest.sha256[0] == manifest.sha256[2] != manifest.sha256[1]


@pytest.mark.parametrize(
    ("embeddings", "files", "told"),
    [
        ([[1, 2]], ["Pro/1.jpg", "Pro/2.jpg"], "(1, 2) and (2,)"),
        ([[1, np.nan]], ["Pro/1.jpg"], "row 0"),
        ([[1, 2], [3, 4]], ["Pro/1.jpg", "Pro/1.jpg"], "Pro/1.jpg"),
        ([[1, 2]], ["Other/1.jpg"], "Other/1.jpg"),
        ([[1, 2]], ["1.jpg"], "1.jpg"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(tmp_path, embeddings, files, told):
    with pytest.raises(UserError) as error:
        read_embeddings(save(tmp_path / "e.npz", embeddings, files), Classes())
    assert told in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"no archive"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    file = tmp_path / "e.npz"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"e\.npz"):
        read_embeddings(file, Classes())


def test_a_lone_array_and_a_table_of_words_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((1, 2), np.float32))
    np.savez(tmp_path / "words.npz", embeddings=np.array([["a", "b"]]), files=["Pro/1.jpg"])
    for name in ("x.npy", "words.npz"):
        with pytest.raises(UserError, match=rf"{name}' to be a \.npz with arrays 'embeddings'"):
            read_embeddings(tmp_path / name, Classes())
