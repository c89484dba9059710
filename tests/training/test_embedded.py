"""What the stage `head` embeds: the images, and views of those in training."""

from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from torchvision.models import resnet18

from leukemia.cli import CONF
from leukemia.compose.data import build_data
from leukemia.compose.model import build_stage_data, build_stages, refit_stage
from leukemia.compose.network import build_hardware, build_network
from leukemia.errors import UserError
from leukemia.models.network import Network
from tests.commands import run_here, write_toy

PAINTED = ["experiment=frozen", "data=synthetic", "data.per_class=12", "crop.size=64"]
PAINTED += ["model.backbone.weights=null"]
PAINTED += ["runtime.progress=false"]
SMALL = [*PAINTED, "augment=smear", "model.backbone.layers=[layer1]", "model.backbone.attend=null"]
SMALL += ["model.backbone.resize=null", "augment.drawn_views=0"]


def embeddings(
    folder: Path, *changes: str, refit: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the embeddings and labels of training and validation."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("train", [*SMALL, f"data.cache_dir={folder}", *changes])
    data = build_data(cfg)
    data.setup("fit")
    cfg.seed = 0  # the same random weights whatever the seed of the views
    network, _ = build_network(cfg, data.embed_dim)
    (stage,) = build_stages(cfg)
    if refit:
        stage = refit_stage(stage, 1)
    made = build_stage_data(cfg, stage, data, network, build_hardware(cfg))
    assert made.array is not None
    assert made.labels is not None
    return (
        {part: np.asarray(made.array[rows]) for part, rows in made.parts.items()},
        {part: made.labels[rows] for part, rows in made.parts.items()},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_layers_with_the_same_weights_and_width_are_not_confused_in_the_cache(folder):
    outer, _ = embeddings(folder, "model.backbone.layers=[layer1]")
    inner, _ = embeddings(folder, "model.backbone.layers=[layer1.1.bn2]")
    assert inner["train"].shape == outer["train"].shape
    assert np.abs(inner["train"] - outer["train"]).max() > 0.01


# The two hand their images to the first layer in another layout, and so sums are rounded
# otherwise: in bfloat16 the values of a map, of about 1, to the nearest multiple of 2**-8.
@pytest.mark.parametrize(("precision", "atol"), [("32-true", 1e-5), ("bf16-mixed", 2**-8)])
def test_what_the_maps_are_weighed_by_is_not_confused_in_the_cache(precision, atol, folder):
    plain, _ = embeddings(folder, f"trainer.precision={precision}")
    both, _ = embeddings(folder, f"trainer.precision={precision}", "model.backbone.attend=magenta")
    width = plain["train"].shape[1]
    assert both["train"].shape[1] == 2 * width
    np.testing.assert_allclose(both["train"][:, :width], plain["train"], rtol=1e-5, atol=atol)
    assert np.abs(both["train"][:, width:] - plain["train"]).max() > 0.01


def test_the_side_that_a_network_sees_is_not_confused_in_the_cache(folder):
    plain, _ = embeddings(folder)
    large, _ = embeddings(folder, "model.backbone.resize=96")
    assert large["train"].shape == plain["train"].shape
    assert np.abs(large["train"] - plain["train"]).max() > 0.01


@pytest.mark.parametrize(
    ("changes", "views"),
    [
        (["augment.drawn_views=2", "augment=stain"], 2),
        (["augment.views=5", "augment=paper"], 4),
    ],
)
def test_views_are_added_to_the_images_and_in_training_alone(changes, views, folder):
    plain, labels = embeddings(folder)
    found, repeated = embeddings(folder, *changes)
    n = len(plain["train"])
    np.testing.assert_array_equal(found["val"], plain["val"])
    np.testing.assert_array_equal(found["train"][:n], plain["train"])
    np.testing.assert_array_equal(repeated["train"][:n], labels["train"])
    np.testing.assert_array_equal(repeated["train"][n:], np.repeat(labels["train"], views))
    more = found["train"][n:].reshape(n, views, -1)
    assert (np.abs(more - plain["train"][:, None]).max(2) > 0).mean() > 0.9


def test_a_refit_learns_from_both_parts_and_from_views_of_both(folder):
    views = ["augment.drawn_views=1", "augment=stain"]
    before, labels = embeddings(folder, *views)
    found, known = embeddings(folder, *views, refit=True)
    n, m = len(before["train"]) // 2, len(before["val"])
    assert len(found["val"]) == 0
    plain, drawn = np.split(found["train"], 2)
    np.testing.assert_array_equal(plain, np.r_[before["train"][:n], before["val"]])
    np.testing.assert_array_equal(drawn[:n], before["train"][n:])
    assert (np.abs(drawn[n:] - before["val"]).max(1) > 0).all()
    np.testing.assert_array_equal(
        known["train"], np.tile(np.r_[labels["train"][:n], labels["val"]], 2)
    )
    assert len(drawn) == n + m


def test_drawn_views_are_the_same_again_and_others_under_another_spec(folder, tmp_path):
    drawn = ["augment.drawn_views=1", "augment=stain"]
    first, _ = embeddings(folder, *drawn)
    again, _ = embeddings(tmp_path, *drawn)
    np.testing.assert_array_equal(first["train"], again["train"])
    milder, _ = embeddings(folder, *drawn, "augment.spec.brightness=0.1")
    half = len(first["train"]) // 2
    np.testing.assert_array_equal(first["train"][:half], milder["train"][:half])
    assert (first["train"][half:] != milder["train"][half:]).any(1).mean() > 0.5


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["augment.views=3"], "augment.views to be 1 or 5"),
        (["augment.drawn_views=-1"], "augment.drawn_views to be a whole number from 0"),
        (["augment=none", "augment.drawn_views=1"], "augment=stain"),
        (["augment.drawn_views=1", "augment.views=5"], "augment.views=1 alone"),
    ],
)
def test_views_that_cannot_be_drawn_are_refused(changes, told, folder):
    with pytest.raises(UserError, match=told):
        embeddings(folder, *changes)


def test_trials_share_the_embeddings_of_a_frozen_backbone(tmp_path: Path, monkeypatch):
    weights = tmp_path / "weights.pth"
    torch.save(resnet18(weights=None).state_dict(), weights)
    passed: list[int] = []
    compute = Network.embed

    def watched(self: Network, inputs: torch.Tensor) -> torch.Tensor:
        passed.append(int((inputs.flatten(1).sum(1) > 0).sum()))
        return compute(self, inputs)

    monkeypatch.setattr(Network, "embed", watched)
    settings = ["data=synthetic", "data.per_class=12", "crop.size=64", "experiment=finetuned"]
    settings += ["stages=[head]", f"model.backbone.weights={weights}", f"data.cache_dir={tmp_path}"]
    used: set[int] = set()
    for trial in (["seed=0"], ["seed=0", "loss.lambda_bce=2"], ["seed=1"], ["seed=2"]):
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = hydra.compose("train", [*settings, *trial, "runtime.progress=false"])
        data = build_data(cfg)
        data.setup("fit")
        new = {*data.parts["train"].tolist(), *data.parts["val"].tolist()} - used
        used |= new
        passed.clear()
        network, _ = build_network(cfg, data.embed_dim)
        (stage,) = build_stages(cfg)
        build_stage_data(cfg, stage, data, network, build_hardware(cfg))
        # The second trial passes none, one of another split only what no trial saw before.
        assert sum(passed) == len(new)
    assert len(list(tmp_path.glob("embeddings-*.npz"))) == 1


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "toy.npz"
    write_toy(path)
    return path


def test_a_discriminant_leaves_a_whole_run_with_one_row_of_history(toy: Path, tmp_path: Path):
    run = tmp_path / "run"
    words = ["data=embeddings", f"data.file={toy}", "head=discriminant", "split=stratified"]
    done = run_here("train", *words, f"hydra.run.dir={run}", cache=tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (run / "DONE").is_file()
    (row,) = (run / "history.csv").read_text().splitlines()[1:]
    assert row.startswith("head,0,0.0,")
    again = run_here("evaluate", f"run={run}", cache=tmp_path, cwd=tmp_path)
    assert again.returncode == 0, again.stderr


def test_the_default_recipe_is_whole_and_is_scored_again_alike(tmp_path: Path):
    run = tmp_path / "run"
    words = [
        *PAINTED,
        "model.backbone.resize=96",
        "model.backbone.layers=[layer1,layer2]",
        "trainer.max_epochs=3",
        f"hydra.run.dir={run}",
    ]
    done = run_here("train", *words, cache=tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    card = (run / "MODEL_CARD.md").read_text()
    assert "| Network | resnet18 (layer1, layer2; whole and by magenta) + WhitenedHead |" in card
    assert "; the network sees it at 96 pixels) |" in card
    assert "| Weights kept of stage head | best validation nll |" in card
    assert "| Weights kept of stage refit | the last, from training and validation together" in card
    again = run_here(
        "evaluate",
        f"run={run}",
        "evaluate.explain=false",
        PAINTED[-1],
        cache=tmp_path,
        cwd=tmp_path,
    )
    assert again.returncode == 0, again.stderr
    scored = (run / "evaluation" / "test" / "predictions.csv").read_text()
    assert scored == (run / "predictions" / "test.csv").read_text()


def test_magenta_is_not_looked_for_in_grey_images(tmp_path: Path):
    words = [*PAINTED, "stain=grey"]
    done = run_here("train", *words, cache=tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "use model.backbone.attend=null" in done.stderr


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["head=discriminant", "stages=[finetune]"], "stages=[head]"),
        (["head=whitened", "stages=[finetune]"], "head=linear"),
        (["+model.head.fit=svm"], "model.head.fit"),
        (["head=discriminant", "stages=[head]", "loss.lambda_bce=4"], "loss.lambda_bce=4"),
    ],
)
def test_a_discriminant_that_cannot_be_is_one_line(changes, told, tmp_path: Path):
    done = run_here(
        "train", "experiment=frozen", "data=synthetic", *changes, cache=tmp_path, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert told in done.stderr
