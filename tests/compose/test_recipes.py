"""What the recipes with a name are made of."""

from collections.abc import Mapping
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

import leukemia.cli  # noqa: F401  # its resolvers
from leukemia.settings.options import CONF

FROZEN = {
    "stain._target_": None,
    "mask.order": "none",
    "mask.beside": None,
    "crop.mode": "square",
    "crop.size": 224,
    "augment.drawn_views": 1,
    "augment.spec.hed": 0.1,
    "loss.lambda_bce": 1.0,
    "loss.cancer_weight": 2.0,
    "schedule._target_": "leukemia.models.schedule.OneCycle",
    "model.head._target_": "leukemia.models.discriminant.WhitenedHead",
    "model.backbone.layers": ["layer1", "layer2", "layer3"],
    "model.backbone.attend": "magenta",
    "model.backbone.resize": 448,
    "stages": ["head"],
    "stage.head.optimizer.lr": 0.1,
    "stage.head.rates": None,
    "stage.head.refit": True,
    "runtime.tta": False,
}
ASKED = {
    "model.name": "resnet18",
    "model.head._target_": "leukemia.models.discriminant.CorrectedHead",
    "model.head.widths": [1024, 2048, 1024, 512, 256, 64, 16],
    "mask.beside": 0.3,
    "crop.mode": "square",
    "augment.spec.hed": 0.1,
    "loss.lambda_nll": 1.0,
    "loss.lambda_bce": 1.0,
    "stages": ["head", "finetune"],
    "loss.cancer_weight": 2.0,
    "model.head.share": 0.25,
    "stage.head.rates": None,
    "stage.finetune.frozen_norms": True,
}
BASELINE = {
    "model.name": "baseline",
    "model.backbone.hidden": 32,
    "model.backbone.kernel": 5,
    "model.normalize": "none",
    "mask.order": "published",
    "loss.lambda_bce": 0.0,
    "stage.finetune.epochs": 10,
    "stage.finetune.batch_size": 32,
    "stage.finetune.optimizer._target_": "torch.optim.SGD",
    "stage.finetune.optimizer.lr": 0.01,
    "stage.finetune.optimizer.momentum": 0.9,
    "schedule._target_": "leukemia.models.schedule.Constant",
}


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", list(overrides))


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("experiment=frozen", FROZEN),
        ("model=resnet18", ASKED),
        ("experiment=paper_baseline", BASELINE),
    ],
)
def test_a_recipe_is_made_of_what_its_name_promises(
    chosen: str, expected: Mapping[str, Any]
) -> None:
    cfg = composed(chosen)
    found = {key: OmegaConf.select(cfg, key) for key in expected}
    plain = {k: OmegaConf.to_object(v) if OmegaConf.is_config(v) else v for k, v in found.items()}
    assert plain == expected
