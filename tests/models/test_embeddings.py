"""Embeddings of a frozen backbone: computed once, equal to those computed online."""

import platform
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from leukemia.errors import UserError
from leukemia.models.backbone import WithMagenta
from leukemia.models.embedding import cached_embeddings, embed, state_hash
from leukemia.models.network import Network, Normalize
from tests.models.built import built

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 64, 64, 3), dtype=np.uint8)
ROWS = np.array([7, 1, 4])


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    backbone, _ = built("resnet18", None, size=64)
    return Network(Normalize("imagenet"), backbone, nn.Identity())


def pixels(rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(IMAGES[rows]).permute(0, 3, 1, 2)


def test_embeddings_equal_those_computed_online_whatever_mode_the_network_was_in(network):
    network.train()
    statistics = network.backbone.body.bn1.running_mean.clone()
    table = embed(network, IMAGES, ROWS, batch_size=2, progress=False)
    assert network.training
    assert torch.equal(network.backbone.body.bn1.running_mean, statistics)
    assert table.shape == (3, 1, 512)
    network.eval()
    with torch.no_grad():
        online = network.embed(pixels(ROWS)).numpy()
    np.testing.assert_allclose(table[:, 0], online, rtol=1e-4, atol=1e-5)


def test_parameters_are_not_moved_in_inference_mode(network, monkeypatch):
    modes = []
    move = Network.to

    def watched(self, *args, **kwargs):
        modes.append(torch.is_inference_mode_enabled())
        return move(self, *args, **kwargs)

    monkeypatch.setattr(Network, "to", watched)
    embed(network, IMAGES, ROWS, progress=False)
    assert modes == [False]  # they could not be trained any more


def test_views_are_embedded_one_by_one(network):
    table = embed(
        network,
        IMAGES,
        ROWS,
        views=lambda image, row: np.stack([image, image[::-1]]),
        progress=False,
    )
    assert table.shape == (3, 2, 512)
    plain = embed(network, IMAGES, ROWS, progress=False)
    np.testing.assert_allclose(table[:, :1], plain, rtol=1e-4, atol=1e-5)
    assert not np.allclose(table[:, 1], table[:, 0], atol=1e-3)


def test_a_second_call_computes_nothing(network, tmp_path, monkeypatch):
    def table(content: str = "pixels") -> np.ndarray:
        return cached_embeddings(
            network, IMAGES, ROWS, folder=tmp_path, content=content, progress=False
        )

    first = table()
    monkeypatch.setattr(network, "embed", lambda inputs: pytest.fail("computed again"))
    assert np.array_equal(first, table())
    monkeypatch.undo()
    table("other pixels")
    with torch.no_grad():
        network.backbone.body.conv1.weight.mul_(2)
    assert not np.array_equal(first, table())
    assert len(list(tmp_path.glob("*.npz"))) == 3


HALVES = pytest.mark.parametrize("half", [None, torch.bfloat16], ids=["float32", "bfloat16"])


@HALVES
@pytest.mark.parametrize("several", [False, True])
def test_each_image_passes_once_and_its_embedding_does_not_depend_on_the_others(
    several, half, network, tmp_path, monkeypatch
):
    def views(image: np.ndarray, row: int) -> np.ndarray:
        return np.stack([image, np.full_like(image, row)])

    def table(rows: list[int], folder: str) -> np.ndarray:
        return cached_embeddings(
            network,
            IMAGES,
            np.array(rows),
            folder=tmp_path / folder,
            content="",
            batch_size=4,
            half=half,
            views=views if several else None,
            progress=False,
        )

    passed = []
    compute = network.embed

    def watched(inputs: torch.Tensor) -> torch.Tensor:
        passed.append(int((inputs.flatten(1).sum(1) > 0).sum()))
        return compute(inputs)

    monkeypatch.setattr(network, "embed", watched)
    first, second = table([7, 1, 4], "a"), table([4, 2, 9, 7], "a")
    assert sum(passed) == 5 * (1 + several)
    assert np.array_equal(first[2], second[0])
    assert np.array_equal(first[0], second[3])
    monkeypatch.undo()
    assert np.array_equal(table([9, 7, 4, 2, 1], "b"), np.stack([*second[[2, 3, 0, 1]], first[1]]))
    plain = embed(network, IMAGES, np.array([2, 9]), half=half, progress=False)
    # In other batches sums may be rounded otherwise: bfloat16 has 8 bits of a value near 1.
    atol = 1e-5 if half is None else 2**-8
    np.testing.assert_allclose(second[[1, 2], 0], plain[:, 0], rtol=1e-4, atol=atol)


@HALVES
def test_the_cache_gives_the_very_bits_that_would_be_computed_whatever_came_first(half, tmp_path):
    torch.manual_seed(0)
    layers = {"layers": ["layer1"], "attend": "magenta"}
    backbone, _ = built("resnet18", None, size=64, **layers)
    network = Network(WithMagenta(Normalize("imagenet")), backbone, nn.Identity())
    settings = {"half": half, "progress": False}

    def check(rows: list[int], **changes: object) -> None:
        words = {**settings, **changes}
        asked = np.array(rows)
        found = cached_embeddings(network, IMAGES, asked, folder=tmp_path, content="", **words)
        np.testing.assert_array_equal(found, embed(network, IMAGES, asked, **words))

    check([1, 7], batch_size=4)  # another one in its batch, and the last batch is smaller
    for batch_size in (4, 1, 3):
        check([9, 0, 1, 7], batch_size=batch_size)
    network.to(memory_format=torch.channels_last)  # sums are in another order
    check([9, 0, 1, 7], batch_size=4)
    torch.set_num_threads(2)
    check([8, 1, 7], batch_size=4)
    torch.set_num_threads(1)


def test_another_machine_or_version_of_torch_computes_its_own(network, tmp_path, monkeypatch):
    def files() -> int:
        cached_embeddings(network, IMAGES, ROWS, folder=tmp_path, content="", progress=False)
        return len(list(tmp_path.glob("*.npz")))

    assert files() == 1
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "another")
    assert files() == 2
    monkeypatch.setattr("torch.__version__", "0.0")
    assert files() == 3


def test_the_hash_follows_every_value(network):
    before = state_hash(network)
    assert before == state_hash(network)
    with torch.no_grad():
        network.backbone.body.bn1.running_var[3] += 1e-3
    assert state_hash(network) != before


DAMAGE = {
    "inverted": lambda data: data[:900] + bytes(255 - b for b in data[900:940]) + data[940:],
    "zeroed": lambda data: data[:400] + bytes(1000) + data[1400:],
    "all zero": lambda data: bytes(len(data)),
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "text": lambda data: b"no archive",
}


@pytest.mark.parametrize("name", [*DAMAGE, "folder"])
def test_a_damaged_table_is_told_and_computed_again(name, network, tmp_path, capsys):
    def table() -> np.ndarray:
        return cached_embeddings(network, IMAGES, ROWS, folder=tmp_path, content="", progress=False)

    first = table()
    (path,) = tmp_path.glob("*.npz")
    if name == "folder":
        path.unlink()
        (path / "deep").mkdir(parents=True)
    else:
        path.write_bytes(DAMAGE[name](path.read_bytes()))
    np.testing.assert_array_equal(table(), first)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"'{path}' is damaged" in said
    np.testing.assert_array_equal(table(), first)
    assert capsys.readouterr().err == ""


def test_a_cache_that_cannot_be_used_is_named(network, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"data\.cache_dir to another folder"):
        cached_embeddings(
            network, IMAGES, ROWS, folder=tmp_path / "file", content="", progress=False
        )


def test_what_a_killed_process_left_is_swept(network, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / f".building.{gone.pid}.{'0' * 32}.{platform.node()}"
    left.write_bytes(b"half a table")
    cached_embeddings(network, IMAGES, ROWS, folder=tmp_path, content="", progress=False)
    assert not left.exists()
    assert len(list(tmp_path.iterdir())) == 2  # the table and its lock
