import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leukemia.errors import UserError
from leukemia.report.curves import read_history, write_history

FIRST = {"stage": "head", "epoch": 0}


def test_columns_are_the_union_by_first_appearance(tmp_path):
    path = tmp_path / "history.csv"
    write_history(
        path,
        [
            {"stage": "head", "epoch": 0, "train_loss": 0.1},
            {"stage": "finetune", "epoch": 0, "train_loss": None, "val_loss": 2.0},
        ],
    )
    assert path.read_text() == ("stage,epoch,train_loss,val_loss\nhead,0,0.1,\nfinetune,0,,2.0\n")
    assert read_history(path) == [
        {"stage": "head", "epoch": 0, "train_loss": 0.1, "val_loss": None},
        {"stage": "finetune", "epoch": 0, "train_loss": None, "val_loss": 2.0},
    ]


def test_kinds_come_back(tmp_path):
    path = tmp_path / "history.csv"
    row = {"epoch": 3, "whole": 3.0, "tiny": 1e-300, "none": None, "stage": "fine, tune"}
    write_history(path, [row])
    back = read_history(path)
    assert back == [row]
    assert [type(v) for v in back[0].values()] == [int, float, float, type(None), str]


def test_numpy_scalars_are_written_as_numbers(tmp_path):
    path = tmp_path / "history.csv"
    write_history(path, [{"a": np.float64(0.1), "b": np.float32(0.5), "c": np.int64(7)}])
    assert path.read_text() == "a,b,c\n0.1,0.5,7\n"


def test_a_loss_that_diverged_stays_visible(tmp_path):
    path = tmp_path / "history.csv"
    write_history(path, [{**FIRST, "val_loss": math.nan, "train_loss": math.inf}])
    (row,) = read_history(path)
    assert math.isnan(row["val_loss"])
    assert row["train_loss"] == math.inf


@given(value=st.floats(allow_nan=False))
def test_every_float_survives_to_the_last_bit(value, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "history.csv"
    write_history(path, [{**FIRST, "value": value}])
    assert read_history(path) == [{**FIRST, "value": value}]


def test_no_epoch_is_no_row(tmp_path):
    write_history(tmp_path / "history.csv", [])
    assert read_history(tmp_path / "history.csv") == []


def test_a_missing_history_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.csv, but cannot read it"):
        read_history(tmp_path / "nothing.csv")


@pytest.mark.parametrize(
    "text",
    [
        "no history\n1\n",
        "stage,epoch\n,0\n",
        "stage,epoch\nhead,\n",
        "stage,epoch\nhead,first\n",
        "stage,epoch\nhead,0,0.5\n",
        "stage,epoch,val_nll\nhead,0,low\n",
        b"\xff\xfe\x00",
    ],
)
def test_a_damaged_history_is_one_line(tmp_path, text):
    path = tmp_path / "history.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=r"history at .*history\.csv") as caught:
        read_history(path)
    assert "\n" not in str(caught.value)
