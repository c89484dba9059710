import itertools

import pytest
import torch

from leukemia.errors import UserError
from leukemia.models.network import Normalize


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_raw_pixels_become_zero_to_one(dtype):
    pixels = torch.tensor([0, 51, 255], dtype=dtype).reshape(1, 3, 1, 1)
    out = Normalize("none")(pixels)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.flatten(), torch.tensor([0.0, 0.2, 1.0]))


def test_imagenets_mean_becomes_zero_and_one_deviation_more_becomes_one():
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = torch.stack([mean, mean + std]).reshape(2, 3, 1, 1) * 255
    out = Normalize("imagenet")(pixels).flatten(1)
    torch.testing.assert_close(out, torch.tensor([[0.0] * 3, [1.0] * 3]), rtol=0, atol=1e-6)


def test_by_its_own_contrast_an_image_loses_brightness_and_white_balance():
    pixels = torch.randint(0, 120, (3, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    lamp = torch.tensor([2.0, 1.5, 0.5]).reshape(3, 1, 1)
    out = Normalize("image")(pixels)
    torch.testing.assert_close(out, Normalize("image")(pixels * lamp + 5), rtol=0, atol=1e-4)
    torch.testing.assert_close(out.mean((2, 3)), torch.zeros(3, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(out.std((2, 3)), torch.ones(3, 3))


def test_by_its_own_contrast_an_even_image_is_all_zero():
    pixels = torch.full((1, 3, 8, 8), 200, dtype=torch.uint8)
    assert Normalize("image")(pixels).abs().max() < 1e-3


def test_the_normalisations_have_states_that_differ():
    # What is cached by the hash of a state must not mix them up.
    states = [Normalize(scheme).state_dict() for scheme in ("imagenet", "train", "image", "none")]
    for one, other in itertools.combinations(states, 2):
        assert not (
            torch.equal(one["mean"], other["mean"]) and torch.equal(one["std"], other["std"])
        )


def test_the_colours_of_a_run_s_images_become_zero_and_one():
    mean, std = torch.tensor([0.8, 0.7, 0.9]), torch.tensor([0.2, 0.1, 0.05])
    normalize = Normalize("train")
    pixels = torch.stack([mean, mean + std]).reshape(2, 3, 1, 1) * 255
    assert normalize(pixels).isnan().all()  # so that nobody goes by colours that were never told
    normalize.use(mean.tolist(), std.tolist())
    out = normalize(pixels).flatten(1)
    torch.testing.assert_close(out, torch.tensor([[0.0] * 3, [1.0] * 3]), rtol=0, atol=1e-5)
    normalize.use([0.5] * 3, [0.0] * 3)
    assert normalize(torch.full((1, 3, 2, 2), 127.5)).abs().max() < 1e-5


def test_normalising_keeps_the_memory_format():
    pixels = torch.zeros(2, 3, 8, 8, dtype=torch.uint8).contiguous(
        memory_format=torch.channels_last
    )
    assert Normalize()(pixels).is_contiguous(memory_format=torch.channels_last)


def test_an_unknown_normalisation_is_refused_by_its_key():
    with pytest.raises(
        UserError, match=r"model\.normalize.*imagenet, train, image, none.*'zscore'"
    ):
        Normalize("zscore")
