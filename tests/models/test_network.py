"""What a network makes of a batch: one view, and eight."""

import numpy as np
import pytest
import torch
from torch import nn

from leukemia.models.network import Network, judge_batch

SIDE = 4


@pytest.fixture
def network():
    torch.manual_seed(0)
    pixels = 3 * SIDE * SIDE
    return Network(
        nn.Identity(), nn.Sequential(nn.Flatten(), nn.Linear(pixels, 5)), nn.Linear(5, 4)
    )


@pytest.mark.parametrize("channels_last", [False, True])
def test_eight_views_are_averaged_and_one_is_told_apart(network, channels_last):
    images = torch.randn(6, 3, SIDE, SIDE)
    # The symmetries of a square, made by numpy.
    turned = [
        torch.from_numpy(np.rot90(side, turn, axes=(2, 3)).copy())
        for side in (images.numpy(), images.numpy()[:, :, ::-1])
        for turn in range(4)
    ]
    with torch.no_grad():
        each = torch.stack([network(view).double().softmax(1) for view in turned])
        found = judge_batch(network, images, tta=True, channels_last=channels_last)
        alone = judge_batch(network, images, channels_last=channels_last)
    assert len(torch.unique(each[:, 0], dim=0)) == 8
    torch.testing.assert_close(found.probabilities, each.mean(0))
    torch.testing.assert_close(found.single, each[0])
    torch.testing.assert_close(found.embeddings, network.embed(images).detach())
    torch.testing.assert_close(alone.probabilities, each[0])
    assert (alone.probabilities.dtype, alone.embeddings.dtype) == (torch.float64, torch.float32)


def test_embeddings_have_one_view(network):
    network.backbone = nn.Identity()
    rows = torch.randn(6, 5)
    with torch.no_grad():
        found = judge_batch(network, rows, tta=True)
        torch.testing.assert_close(found.probabilities, network.head(rows).double().softmax(1))
    torch.testing.assert_close(found.embeddings, rows)
