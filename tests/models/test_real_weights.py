"""The whole ResNet18 with its real weights, where they lie: LEUKEMIA_WEIGHTS names their folder."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from leukemia.data.files.images import decode_image
from leukemia.models.network import Normalize
from tests.models.built import built

WEIGHTS = Path(os.environ.get("LEUKEMIA_WEIGHTS", "nowhere"))
REFERENCE = WEIGHTS / "resnet18_imagenet_reference.npz"
DATA = Path(os.environ.get("LEUKEMIA_DATA", "nowhere"))


# The file is a featurizer without `fc`, so it cannot be asked for ImageNet's classes: what it
# makes of four smears was computed by OpenCV from the file that its weights were taken from.
@pytest.mark.skipif(not REFERENCE.is_file(), reason="LEUKEMIA_WEIGHTS names no such weights")
@pytest.mark.skipif(not DATA.is_dir(), reason="LEUKEMIA_DATA names no images")
def test_the_whole_resnet18_gives_the_pooled_features_of_the_original():
    backbone, said = built("resnet18", str(WEIGHTS / "resnet18_imagenet.pth"))
    assert said == "resnet18: 120 of 120 tensors loaded from resnet18_imagenet.pth"
    with np.load(REFERENCE) as archive:
        files, pooled = archive["files"], torch.from_numpy(archive["pooled"])
    images = np.stack([decode_image((DATA / str(name)).read_bytes()) for name in files])
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.inference_mode():
        found = backbone.eval()(Normalize("imagenet")(pixels))
    assert found.shape == (4, 512)
    torch.testing.assert_close(found, pooled, rtol=0, atol=0.005)
