"""The package from Python: trained by overrides or by hand, opened, asked."""

import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import leukemia
from leukemia.data import Preprocess, SmearDataModule, paint_smears, stratified_split
from leukemia.models import Classifier, DualLoss
from tests.commands import SMALL

PUBLIC = ["leukemia", *(f"leukemia.{room}" for room in ("data", "measure", "models", "training"))]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> leukemia.Trained:
    home = tmp_path_factory.mktemp("python")
    return leukemia.train(
        [*SMALL, f"data.cache_dir={home / 'cache'}", f"hydra.run.dir={home / 'run'}"]
    )


@pytest.fixture(scope="module")
def files(trained: leukemia.Trained) -> list[Path]:
    return sorted((trained.path.parent / "cache").glob("synthetic-*/*/*"))[:3]


@pytest.mark.parametrize("package", PUBLIC)
def test_public_names_are_listed_and_there(package: str):
    module = import_module(package)
    assert list(module.__all__) == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name).__name__.rpartition(".")[2] == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing


def test_importing_the_packages_takes_no_torch():
    lines = [f"import sys, {', '.join(PUBLIC)}", "leukemia.train, leukemia.UserError"]
    lines.append("assert not {'torch', 'lightning', 'numpy'} & set(sys.modules), 'slow'")
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_train_is_a_function_and_a_module():
    from leukemia.train import main, train

    assert leukemia.train.train is train
    assert leukemia.train.main is main
    assert callable(leukemia.train)


def test_train_returns_the_run(trained: leukemia.Trained):
    assert (trained.path / "DONE").is_file()
    assert set(trained.metrics) == {"val", "test"}
    found = trained.evaluate()
    for key in ("n", "accuracy", "nll", "cancer_recall"):
        assert found[key] == pytest.approx(trained.metrics["test"][key]), key


def test_evaluate_refuses_a_folder_that_the_run_was_trained_on(trained, files):
    with pytest.raises(leukemia.UserError, match="train"):
        trained.evaluate(files[0].parent.parent)


def test_an_image_is_a_path_an_array_an_image_of_pil_or_a_tensor(trained, files):
    arrays = [np.array(Image.open(file).convert("RGB")) for file in files]
    tensors = [torch.from_numpy(array).permute(2, 0, 1) for array in arrays]
    expected = trained.predict(files).probabilities
    assert expected.shape == (3, 4)
    for images in (arrays, list(map(Image.open, files)), tensors, torch.stack(tensors)):
        np.testing.assert_array_equal(trained.predict(images).probabilities, expected)
    for single in (files[0], arrays[0], Image.open(files[0]), tensors[0]):
        found = trained.predict(single)
        assert len(found) == 1
        np.testing.assert_allclose(found.probabilities[0], expected[0], atol=1e-4)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (torch.zeros(3, 8, 8), r"tensor \(3, H, W\) of uint8.*float32"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), r"tensor \(3, H, W\).*\(8, 8, 3\)"),
        (Image.new("F", (8, 8)), "Image 0 cannot be used: floating-point"),
        (3, "a file, an image of PIL, or an array or tensor"),
    ],
)
def test_another_image_is_refused_in_one_line(trained, image, said: str):
    with pytest.raises(leukemia.UserError, match=said):
        trained.predict([image])


def test_predictions_are_a_table_of_pandas_where_it_is_installed(trained, files, monkeypatch):
    scores = trained.predict(files)
    table = scores.to_pandas()
    assert list(table.columns) == scores.columns
    np.testing.assert_array_equal(table["p_Benign"], scores.probabilities[:, 0])
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(leukemia.UserError, match="pip install pandas"):
        scores.to_pandas()


def test_a_run_explains_an_image(trained, files):
    figure = trained.predictor.explain(Image.open(files[0]), target="cancer")
    assert len(figure.axes) >= 3  # the image and its two maps
    with pytest.raises(leukemia.UserError, match="Expected target to be one of"):
        trained.predictor.explain(files[0], target="Late")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ("seed=1", "Expected overrides to be a list"),
        (["trainer.max_epoch=3"], "Did you mean trainer.max_epochs"),
        (["+runtime.tat=true"], "There is no setting runtime.tat.*Did you mean runtime.tta"),
        (["seed=one"], "Expected seed to be a whole number"),
        (["study=seeds"], "A study is a command of its own"),
        (["resume=nowhere", "seed=3"], "resume= goes on with the run's own settings"),
    ],
)
def test_a_mistake_is_what_the_command_would_say(overrides, said: str, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(leukemia.UserError, match=said):
        leukemia.train(overrides)
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_not_trained_over(trained):
    with pytest.raises(leukemia.UserError, match="holds a run already"):
        leukemia.train([*SMALL, f"hydra.run.dir={trained.path}"])
    assert leukemia.train([f"resume={trained.path}"]).path == trained.path


def test_settings_of_ones_own_come_from_a_folder(tmp_path):
    with pytest.raises(leukemia.UserError, match="There is no folder of settings"):
        leukemia.train([], config_dir=tmp_path / "none")
    (tmp_path / "experiment").mkdir()
    recipe = "# @package _global_\nseed: -5\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(recipe)
    with pytest.raises(leukemia.UserError, match=r"seed.*-5"):
        leukemia.train(["experiment=mine", f"hydra.run.dir={tmp_path / 'run'}"], tmp_path)


def made() -> tuple[nn.Module, nn.Module]:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    return nn.Sequential(Scaled(), network, nn.Linear(4, 4)), DualLoss(cancer_weight=2.0)


class Scaled(nn.Module):
    def forward(self, images):
        return images.float() / 255


@pytest.fixture
def smears(tmp_path: Path) -> SmearDataModule:
    classes = leukemia.Classes(("Benign", "Early", "Pre", "Pro"), benign="Benign")
    splitter = partial(stratified_split, n_classes=4, seed=0)
    root = paint_smears(tmp_path / "smears", per_class=10, seed=0)
    return SmearDataModule(
        root, classes, Preprocess(size=32), splitter, tmp_path / "cache", batch_size=8
    )


def test_a_trainer_fits_validates_tests_and_predicts_without_hydra(smears, tmp_path: Path):
    network, loss = made()
    module = Classifier(
        network,
        loss,
        optimizer=lambda named: torch.optim.AdamW([w for _, w in named], lr=1e-2),
        seed=3,
        tta=True,
    )
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = L.Trainer(max_epochs=2, accelerator="cpu", default_root_dir=tmp_path, **quiet)
    trainer.fit(module, datamodule=smears)
    (validated,) = trainer.validate(module, datamodule=smears, verbose=False)
    (tested,) = trainer.test(module, datamodule=smears, verbose=False)
    assert {"val_loss", "val_nll", "val_accuracy", "val_cancer_recall"} <= set(validated)
    assert {"test_loss", "test_nll", "test_accuracy", "test_cancer_recall"} <= set(tested)
    answers = trainer.predict(module, datamodule=smears)
    flat = torch.cat([answer.single for answer in answers])
    labels = torch.from_numpy(smears.labels[smears.parts["test"]])
    assert float((flat.argmax(1) == labels).double().mean()) == pytest.approx(
        tested["test_accuracy"]
    )

    path = trainer.checkpoint_callback.best_model_path
    other, same_loss = made()
    again = Classifier.load_from_checkpoint(path, network=other, loss=same_loss)
    assert (again.seed, again.tta, again.hparams.n_classes) == (3, True, 4)
    (once_more,) = L.Trainer(accelerator="cpu", **quiet).test(
        again, datamodule=smears, verbose=False
    )
    assert once_more == pytest.approx(tested)
