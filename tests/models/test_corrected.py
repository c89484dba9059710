import numpy as np
import pytest
import torch
from torch import nn

from leukemia.errors import UserError
from leukemia.models.discriminant import CorrectedHead, WhitenedHead


def test_it_starts_as_its_linear_part():
    torch.manual_seed(0)
    head = CorrectedHead(6, widths=(5, 4)).eval()
    embeddings = torch.randn(7, 6)
    with torch.no_grad():
        assert torch.equal(head(embeddings), head.linear(embeddings))


def test_the_logits_are_those_of_both_parts_added():
    head = CorrectedHead(2, widths=(1,), n_classes=2, dropout=0.0).eval()
    pair = head.correction.pairs[0]
    pair.norm = nn.Identity()
    with torch.no_grad():
        for layer in (pair.widen, pair.residual, head.correction.classify):
            layer.weight.fill_(1.0)
            layer.bias.zero_()
        head.linear.classify.weight.copy_(torch.tensor([[10.0, 0.0], [0.0, 0.0]]))
        head.linear.classify.bias.copy_(torch.tensor([0.0, 5.0]))
        logits = head(torch.tensor([[2.0, 1.0]]))
    # Linear: 10 * 2 and 5. Correction: 2 + 1 = 3, and a skip around a linear of weight 1 doubles
    # it: 6 for either class.
    assert logits.tolist() == [[26.0, 11.0]]


def test_each_part_can_have_its_own_part_of_the_embedding():
    torch.manual_seed(0)
    head = CorrectedHead(6, widths=(5, 4), linear_dim=4).eval()
    nn.init.ones_(head.correction.classify.weight)
    embeddings = torch.randn(3, 6)
    with torch.no_grad():
        expected = head.linear(embeddings[:, :4]) + head.correction(embeddings[:, 4:])
        assert torch.equal(head(embeddings), expected)


def test_the_first_step_already_moves_the_last_layer_of_the_correction():
    torch.manual_seed(0)
    head = CorrectedHead(6, widths=(5, 4))
    nn.functional.cross_entropy(head(torch.randn(8, 6)), torch.arange(8) % 4).backward()
    assert head.correction.classify.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("dim", [0, 6])
def test_numbers_that_an_embedding_does_not_have_are_refused(dim):
    with pytest.raises(UserError, match=r"model\.head\.linear_dim.*1 to 5.*" + str(dim)):
        CorrectedHead(6, linear_dim=dim)


def test_its_linear_part_starts_as_the_discriminant_of_its_own_numbers():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 20)
    values = (rng.normal(size=(4, 6))[labels] + rng.normal(size=(80, 6))).astype(np.float32)
    head, alone = CorrectedHead(6, linear_dim=4), WhitenedHead(4)
    head.start(values, labels)
    alone.start(values[:, :4], labels)
    for name, value in alone.state_dict().items():
        assert torch.equal(head.linear.state_dict()[name], value)
