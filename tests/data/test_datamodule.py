"""What a data module asks of the files on disk."""

from pathlib import Path

import hydra
import pytest
from omegaconf import DictConfig

from leukemia.classes import Classes
from leukemia.compose.data import build_data
from leukemia.data import datamodule as module
from leukemia.data.datamodule import SmearDataModule
from leukemia.data.image.preprocess import Preprocess


def asked(data: SmearDataModule, monkeypatch) -> list[bool]:
    """Whether each scan of the folder was to hash every file."""
    calls: list[bool] = []

    def build(*_, verify: bool = False, **__):
        calls.append(verify)
        raise InterruptedError

    monkeypatch.setattr(module, "build_manifest", build)
    for _ in range(2):
        with pytest.raises(InterruptedError):
            data.prepare_data()
    return calls


@pytest.mark.parametrize("verify", [True, False])
def test_all_files_are_hashed_once_where_that_is_asked_for(verify, tmp_path, monkeypatch):
    data = SmearDataModule(
        tmp_path, Classes(), Preprocess(), lambda *_: None, tmp_path, verify=verify
    )
    assert asked(data, monkeypatch) == [verify, False]


@pytest.fixture
def cfg(tmp_path) -> DictConfig:
    conf = Path(__file__).parents[2] / "conf"
    with hydra.initialize_config_dir(str(conf), version_base="1.3"):
        words = ["data=folder", f"data.root={tmp_path}", "data.classes.names=[a,b]"]
        return hydra.compose("train", words)


@pytest.mark.parametrize("open_test", [True, False])
def test_a_run_that_opens_the_test_part_hashes_all_files(open_test, cfg, monkeypatch):
    cfg.open_test = open_test
    assert asked(build_data(cfg), monkeypatch)[0] is open_test
