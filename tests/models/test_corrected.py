import numpy as np
import pytest
import torch
from torch import nn

from leukemia.errors import UserError
from leukemia.models.discriminant import CorrectedHead, WhitenedHead


def test_the_logits_are_those_of_the_discriminant_and_a_share_of_the_residual_classifier():
    head = CorrectedHead(2, widths=(1,), n_classes=2, dropout=0.0, share=0.5).eval()
    pair = head.residual.pairs[0]
    pair.norm = nn.Identity()
    with torch.no_grad():
        for layer in (pair.widen, pair.residual, head.residual.classify):
            layer.weight.fill_(1.0)
            layer.bias.zero_()
        head.linear.classify.weight.copy_(torch.tensor([[10.0, 0.0], [0.0, 0.0]]))
        head.linear.classify.bias.copy_(torch.tensor([0.0, 5.0]))
        logits = head(torch.tensor([[2.0, 1.0]]))
    # Linear: 10 * 2 and 5. Residual: 2 + 1 = 3, and a skip around a linear of weight 1 doubles
    # it: 6 for either class, half of which counts.
    assert logits.tolist() == [[23.0, 8.0]]


def test_in_training_the_residual_classifier_learns_by_itself():
    torch.manual_seed(0)
    head = CorrectedHead(6, widths=(5, 4), dropout=0.0)
    embeddings = torch.randn(8, 6)
    with torch.no_grad():
        assert torch.equal(head(embeddings), head.residual(embeddings))
    nn.functional.cross_entropy(head(embeddings), torch.arange(8) % 4).backward()
    assert head.residual.classify.weight.grad.abs().sum() > 0
    assert head.linear.classify.weight.grad is None


def test_the_residual_classifier_reads_whitened_numbers_and_the_others_as_they_are():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 20)
    values = (rng.normal(size=(4, 6))[labels] + rng.normal(size=(80, 6))).astype(np.float32)
    head = CorrectedHead(6, widths=(5, 4), plain_dim=4, share=2.0)
    head.start(values, labels)
    head.eval()
    rows = torch.from_numpy(values)
    with torch.no_grad():
        read = torch.cat([head.linear.standardize(rows[:, :4]), rows[:, 4:]], 1)
        assert torch.equal(head(rows), head.linear(rows[:, :4]) + 2 * head.residual(read))


@pytest.mark.parametrize("dim", [0, 7])
def test_numbers_that_an_embedding_does_not_have_are_refused(dim):
    with pytest.raises(UserError, match=r"model\.head\.plain_dim.*1 to 6.*" + str(dim)):
        CorrectedHead(6, plain_dim=dim)


def test_a_share_below_zero_is_refused():
    with pytest.raises(UserError, match=r"model\.head\.share.*-1"):
        CorrectedHead(6, share=-1.0)


def test_its_linear_part_is_the_discriminant_of_its_own_numbers():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 20)
    values = (rng.normal(size=(4, 6))[labels] + rng.normal(size=(80, 6))).astype(np.float32)
    head, alone = CorrectedHead(6, plain_dim=4), WhitenedHead(4)
    head.start(values, labels)
    alone.start(values[:, :4], labels)
    for name, value in alone.state_dict().items():
        assert torch.equal(head.linear.state_dict()[name], value)
