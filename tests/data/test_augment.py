"""Augmentation: fixed by seed, epoch and row, whoever computes it."""

import numpy as np
import pytest
import torch

from leukemia.data.augment import Augmenter, AugmentSpec, paper_views
from leukemia.data.datamodule import ArrayDataModule
from leukemia.errors import UserError

FULL = AugmentSpec(
    hflip=0.5,
    vflip=0.5,
    quarter_turns=1.0,
    rotation=30,
    scale=0.1,
    rotation_p=1.0,
    blur_p=0.5,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    hue=0.05,
    jitter_p=1.0,
    hed=0.1,
    grey_p=0.1,
)
IMAGES = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)


def test_the_same_seed_epoch_and_row_give_the_same_image():
    a, b = Augmenter(FULL, 3), Augmenter(FULL, 3)
    b(IMAGES[5], 9, 9)  # what was drawn before makes no difference
    assert np.array_equal(a(IMAGES[0], 1, 2), b(IMAGES[0], 1, 2))


def test_seeds_epochs_and_rows_differ():
    image = IMAGES[0]
    drawn = {
        Augmenter(FULL, seed)(image, epoch, row).tobytes()
        for seed in (0, 1)
        for epoch in range(5)
        for row in range(5)
    }
    assert len(drawn) == 50


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_batches(workers):
    def batches(num_workers: int) -> list[torch.Tensor]:
        data = ArrayDataModule(
            IMAGES,
            np.zeros(24, np.int64),
            {"train": np.arange(24)},
            batch_size=5,
            augment=Augmenter(FULL, 0),
            num_workers=num_workers,
        )
        loader = data.train_dataloader()
        drawn = []
        for epoch in (0, 1):
            loader.sampler.set_epoch(epoch)
            drawn += [inputs for inputs, _ in loader]
        return drawn

    alone, many = batches(0), batches(workers)
    assert len(alone) == 10
    assert all(torch.equal(a, b) for a, b in zip(alone, many, strict=True))
    assert not torch.equal(alone[0], alone[5])


def test_a_spec_that_does_nothing_leaves_the_image():
    assert np.array_equal(Augmenter(AugmentSpec(), 0)(IMAGES[0], 0, 0), IMAGES[0])


def test_flips_alone_give_the_four_mirror_images():
    augment = Augmenter(AugmentSpec(hflip=0.5, vflip=0.5), 0)
    image = IMAGES[0]
    seen = {augment(image, 0, row).tobytes() for row in range(60)}
    mirrors = (image, image[:, ::-1], image[::-1], image[::-1, ::-1])
    assert seen == {np.ascontiguousarray(mirror).tobytes() for mirror in mirrors}


def test_rotation_fills_its_corners_as_told():
    white = np.full((64, 64, 3), 255, np.uint8)
    spec = AugmentSpec(rotation=45, rotation_p=1.0)
    turned = [Augmenter(spec, 0, border="black")(white, 0, row) for row in range(9)]
    assert min(image.min() for image in turned) == 0
    kept = [Augmenter(spec, 0, border="reflect")(white, 0, row) for row in range(9)]
    assert min(image.min() for image in kept) == 255


def test_the_five_views_of_the_paper():
    image = IMAGES[0]
    views = paper_views(image, 0, 7)
    assert views.shape == (5, 32, 32, 3)
    assert np.array_equal(views[0], image)
    assert np.array_equal(views[1], image[:, ::-1])
    assert np.array_equal(views[2], image[::-1])
    assert views[4].std() < image.std()
    assert np.array_equal(views, paper_views(image, 0, 7))
    assert not np.array_equal(views[3], paper_views(image, 0, 8)[3])


@pytest.mark.parametrize(
    "values",
    [{"hflip": 1.5}, {"rotation": -1}, {"blur_kernel": 4}, {"hue": 0.7}, {"scale": "much"}],
)
def test_a_value_out_of_range_is_refused(values):
    with pytest.raises(UserError, match=rf"augment\.spec\.{next(iter(values))}"):
        AugmentSpec(**values)
