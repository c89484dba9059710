import pytest
import torch
from torchvision import models

from leukemia.errors import UserError
from tests.models.built import built


@pytest.mark.parametrize(
    ("name", "embed_dim"),
    [
        ("resnet18", 512),
        ("resnet50", 2048),
        ("alexnet", 9216),
        ("vgg11", 25088),
        ("vgg16", 25088),
        ("squeezenet1_0", 512),
        ("densenet121", 1024),
        ("googlenet", 1024),
        ("inception_v3", 2048),
        ("shufflenet_v2_x0_5", 1024),
        ("mobilenet_v3_small", 576),
        ("mnasnet0_5", 1280),
        ("efficientnet_b0", 1280),
        ("convnext_tiny", 768),
        ("vit_b_16", 768),
    ],
)
def test_the_embedding_size_is_found(name, embed_dim):
    with torch.device("meta"):  # shapes without numbers: vgg16 takes no second
        backbone, _ = built(name, None)
        assert backbone.embed_dim == embed_dim
        assert backbone.eval()(torch.zeros(2, 3, 224, 224)).shape == (2, embed_dim)


@pytest.mark.parametrize(("name", "embed_dim"), [("regnet_y_400mf", 440), ("swin_t", 768)])
def test_the_embedding_size_is_found_where_building_needs_numbers(name, embed_dim):
    assert built(name, None)[0].embed_dim == embed_dim


@pytest.mark.parametrize(
    ("name", "classify"),
    [
        ("resnet18", lambda model, x: model.fc(x)),
        ("mobilenet_v3_small", lambda model, x: model.classifier(x)),
        ("shufflenet_v2_x0_5", lambda model, x: model.fc(x)),
        ("convnext_tiny", lambda model, x: model.classifier[-1](x)),
    ],
)
def test_torchvisions_classifier_on_the_embeddings_gives_torchvisions_logits(name, classify):
    torch.manual_seed(0)
    whole = models.get_model(name, weights=None).eval()
    torch.manual_seed(0)
    backbone, said = built(name, None)
    assert said == f"{name}: random weights"
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(classify(whole, backbone.eval()(images)), whole(images))


def test_random_weights_follow_torchs_seed_and_nothing_else():
    def first(seed):
        torch.manual_seed(seed)
        return built("resnet18", None, size=32)[0].body.conv1.weight

    assert torch.equal(first(3), first(3))
    assert not torch.equal(first(3), first(4))


def test_a_new_backbone_is_in_train_mode_with_untouched_statistics():
    backbone, _ = built("resnet18", None, size=32)
    assert backbone.training
    assert backbone.body.training
    assert backbone.body.bn1.num_batches_tracked == 0


def test_an_unknown_name_is_refused_with_close_ones():
    with pytest.raises(UserError, match=r"model\.backbone\.name.*'resnet-18'.*resnet18"):
        built("resnet-18", None)
    with pytest.raises(UserError, match=r"model\.backbone\.name.*'zzzzzz'"):
        built("zzzzzz", None)
    with pytest.raises(UserError, match=r"model\.backbone\.name"):
        built("fcn_resnet50", None)  # torchvision's, but segmentation


def test_a_network_that_brings_its_own_weights_computes_as_with_those_it_had():
    fresh, said = built("googlenet", "nowhere.pth", size=64, load=False)
    assert fresh.body.transform_input
    assert "random" in said


@pytest.mark.parametrize(("name", "size"), [("inception_v3", 64), ("vit_b_32", 128)])
def test_a_size_that_the_network_cannot_take_is_refused(name, size):
    with (
        torch.device("meta"),
        pytest.raises(UserError, match=rf"{name} cannot take images of {size} x {size}"),
    ):
        built(name, None, size=size)
