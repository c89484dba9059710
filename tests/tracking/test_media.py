"""What W&B is handed of a part, with and without a benign class."""

import numpy as np
import pytest

from leukemia.classes import Classes
from leukemia.data.datamodule import ArrayDataModule
from leukemia.tracking.wandb import charts, mistakes_table
from tests.foreign import FIVE
from tests.report.samples import random_predictions

CURVES = {"val/roc", "val/pr"}


@pytest.mark.parametrize(
    ("benign", "has_cancer"), [(None, False), ("Basophil", True), (("Basophil", "Monocyte"), True)]
)
def test_cancer_is_charted_only_where_a_class_is_benign(benign, has_cancer):
    part = random_predictions(40, 0.5, 0, Classes(FIVE, benign))
    assert set(charts("val", part)) == {"val/confusion", *(CURVES if has_cancer else ())}
    data = ArrayDataModule(
        np.zeros((40, 3), np.float32), part.labels, {"val": np.arange(40, dtype=np.int64)}
    )
    table = mistakes_table("val", part, data, most=5)
    assert ("p_cancer" in table.columns) == has_cancer
    assert len(table.data) == 5
    assert all(len(row) == len(table.columns) for row in table.data)
