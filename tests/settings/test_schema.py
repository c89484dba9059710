"""Which settings there are and what they may be, told before anything else is done."""

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf, open_dict

from leukemia.cli import CONF
from leukemia.compose.model import check_settings
from leukemia.errors import UserError
from leukemia.settings import options, schema
from leukemia.settings.settled import settle
from tests.commands import run_here
from tests.fuzz import composed


def taken(verb: str, argument: str, *base: str) -> None:
    cfg, chosen = composed(verb, list(base), argument)
    schema.check(cfg, verb, chosen)
    schema.check(cfg, verb)
    schema.unread(verb, [*base, argument])


def refused(verb: str, argument: str) -> str:
    with pytest.raises(UserError) as error:
        taken(verb, argument)
    assert "\n" not in str(error.value)
    return str(error.value)


OPTIONS = [f"{group}={one}" for group, all_ in options.groups().items() for one in all_]


@pytest.mark.parametrize("option", [o for o in OPTIONS if not o.startswith(("suite", "launcher"))])
def test_every_option_is_what_it_says(option: str):
    where = "optimizer@stage.head.optimizer" if option.startswith("optimizer=") else None
    taken("train", option if where is None else option.replace("optimizer", where, 1))


@pytest.mark.parametrize(
    ("verb", "typed"),
    [
        ("audit", ["data=synthetic", "mask.scale_bar=remove", "protocols.kfold=null"]),
        ("evaluate", ["suite=stain", "suite.perturbations=[hue]", "runs=[a b,c]"]),
        ("predict", ["input=[a,b]", "trainer.precision=auto"]),
        ("explain", ["target=cancer"]),
        ("study", ["dir=a b"]),
        ("train", ["launcher=local", "n=4"]),
        ("train", ["data.floors={colour: 0.9, mean colour: 0.8}"]),
        (
            "train",
            ["stain=reinhard", "stain.grey=true", "logger=[csv,wandb]", "logger.wandb.tags=[a,1]"],
        ),
        ("train", ["data=folder", "data.classes.names=[1,2]", "data.classes.benign=1"]),
    ],
)
def test_what_can_be_is_taken(verb: str, typed: list[str]):
    taken(verb, typed[-1], *typed[:-1])


UNREAD = {
    "a typo at the root": ("train", "+seeed=1", "seeed", "Did you mean seed?"),
    "forced": ("train", "++seeed=1", "seeed", "Did you mean seed?"),
    "a node": ("train", "+callbacks.early={patience: 3}", "callbacks.early", "patience"),
    "in a node": ("train", "+stage.head.batch_sizes=1", "stage.head.batch_sizes", "batch_size"),
    "of an object": ("train", "+model.head.dropot=1", "model.head.dropot", "model.head.dropout"),
    "of data": ("train", "+data.foo=1", "data.foo", "1"),
    "of another option": ("train", "+split.folds=3", "split.folds=3", "split=kfold"),
    "of a launcher": ("train", "+n=4", "n=4", "launcher=local"),
    "of a logger": ("train", "+logger.wandb={project: mine}", "logger.wandb._target_", "missing"),
    "half a study": ("train", "+study.name=mine", "study", "study=seeds"),
    "predict": ("predict", "+trainer.devices=1", "trainer.devices", "trainer"),
    "evaluate": ("evaluate", "+evaluate.sensitivty=1", "sensitivty", "evaluate.sensitivity"),
    "a suite without one": ("evaluate", "+suite.limit=3", "suite", "suite=stain"),
    "explain": ("explain", "++strid=1", "strid", "stride"),
    "study": ("study", "+dri=x", "dri", "dir"),
    "audit": ("audit", "+groups.small=3", "groups.small", "groups.smallest"),
    "what an audit has for data= alone": ("audit", "split=grouped", "split=grouped", "protocols"),
    "its node": ("audit", "mask.order=lab", "mask.order=lab", "mask.scale_bar"),
    "removed": ("train", "~trainer.precision", "trainer.precision", "missing"),
    "a group removed": ("train", "~split", "split=", "missing"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_a_setting_that_nothing_reads_is_refused(name: str):
    verb, typed, *told = UNREAD[name]
    line = refused(verb, typed)
    for text in told:
        assert text in line


OTHER_KINDS = {
    "stage=null": "settings of its own",
    "model.head=2": "settings of its own",
    "stage.head.optimizer=null": "settings of its own",
    "stage.head.optimizer=adam": "settings of its own",
    "stages=null": "a list",
    "stages=head": "a list",
    "seed=1.5": "a whole number",
    "seed=[1]": "a whole number",
    "seed=99999999999999999999": "a whole number",
    "runtime.tta=abc": "true or false",
    "runtime.progress=1": "true or false",
    "trainer.deterministic=yes": "true or false",
    "runtime.keep_last=null": "true or false",
    "runtime.channels_last=2": "true or false",
    "data.balance=many": "true or false",
    "stain.grey=no": "true or false",
    "open_test=abc": "true or false or null",
    "runtime.save_every=nan": "a finite number",
    "runtime.save_every=abc": "a finite number",
    "augment.spec.contrast=inf": "a finite number",
    "schedule.peak=x": "a finite number",
    "data.cache_dir=''": "a path",
    "data.cache_dir=' '": "a path",
    "data.floors={a: nan}": "one finite value",
    "data.floors={a: {b: 1}}": "one finite value",
    "mask._target_={a: {b: nan}}": "the name of a class",
    "loss.lambda_nll=[1]": "a finite number",
    "loss.class_weights=[1,x,1,1]": "a finite number",
    "crop.size=null": "a whole number",
    "crop.size={a: 1}": "a whole number",
    "model.name=[a]": "text",
    "data.on_bad=perhaps": "one of error, skip",
    "report.map=pca": "one of tsne, umap or null",
    "trainer.precision=8": "one of auto, 32-true",
    "trainer.accelerator=mps": "one of auto, cpu, gpu, cuda",
    "split.validation=last": "one of random, block",
    "seed=???": "seed",
}


@pytest.mark.parametrize("typed", OTHER_KINDS)
def test_a_value_of_another_kind_is_refused(typed: str):
    line = refused("train", typed)
    assert OTHER_KINDS[typed] in line
    assert typed.partition("=")[0].rpartition(".")[2] in line


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("seed=4294967296", "seed to be a whole number from 0 to 4294967295"),
        ("crop.size=100000", "crop.size to be a whole number from 1 to 4096"),
        ("model.backbone.resize=100000", "model.backbone.resize"),
        ("runtime.threads=100000", "runtime.threads to be a whole number from 1 to 1024"),
        ("runtime.num_workers=100000", "runtime.num_workers"),
        ("runtime.save_every=-1", "runtime.save_every"),
        ("data.workers=0", "data.workers"),
        ("augment.drawn_views=1000000", "augment.drawn_views"),
        ("augment.spec.blur_kernel=1000001", "augment.spec.blur_kernel"),
        ("augment.spec.brightness=1e308", "augment.spec.brightness"),
        ("decisions.folds=1", "decisions.folds to be 0 or a whole number from 2 to 50"),
        ("split.n_val=0", "split.n_val"),  # of a stage that is not run
        ("mask.background=2", "mask.background"),
        ("mask.ranges=[[[1,2,3]]]", "mask.ranges"),
    ],
)
def test_a_value_out_of_range_is_refused_before_images_are_read(typed: str, told: str):
    cfg, _ = composed("train", [], typed)
    settle(cfg, multirun=False)
    with pytest.raises(UserError, match=told):
        check_settings(cfg)


def test_a_run_that_goes_on_is_checked_like_a_new_one():
    cfg, _ = composed("train", [], "data=synthetic")
    settle(cfg, multirun=False)
    with open_dict(cfg):
        cfg.trainer.gradient_clip = 1
    with pytest.raises(UserError, match=r"no setting trainer\.gradient_clip.*_clip_val"):
        check_settings(cfg)


def test_settings_of_an_earlier_version_may_lack_some():
    cfg, _ = composed("train", [], "data=synthetic")
    with open_dict(cfg):
        del cfg.runtime.save_every, cfg.mask.background
    schema.check(cfg, "train")


def test_names_of_choices_are_those_of_the_code():
    from leukemia.report.embedding_map import METHODS
    from leukemia.training.hardware import PRECISIONS
    from leukemia.training.stage import MONITORS

    choices = schema.schema("train").choices
    assert set(choices["stage.head.monitor"]) == set(MONITORS)
    assert set(choices["trainer.precision"]) == set(PRECISIONS)
    assert set(choices["report.map"]) == set(METHODS)


@pytest.mark.parametrize("told", ["seed: 0,1", "loss.lambda_nl: 1,2"])
def test_a_list_of_a_study_names_a_setting_too(told: str, tmp_path: Path):
    """Of the studies' own lists, `hydra.sweeper.params`, as of the command line."""
    key, _, value = told.partition(": ")
    done = run_here(
        "train",
        *("-m", "study=seeds", f"+hydra.sweeper.params.{key.replace('.', chr(92) + '.')}={value}"),
        cache=tmp_path,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_check_imports_no_torch(tmp_path: Path):
    code = (
        "import sys; from leukemia import train; sys.argv[1:] = ['+seeed=1']\n"
        "try: train.main()\n"
        "finally: print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stdout.split() == ["False", "False"]
    assert "Did you mean seed?" in done.stderr


def test_an_option_of_the_user_s_own_may_have_settings_of_others(tmp_path: Path):
    (tmp_path / "mask").mkdir()
    kmeans = OmegaConf.load(CONF / "mask" / "published.yaml")
    mine = OmegaConf.merge(kmeans, {"order": "kmeans", "clusters": 4, "nuclei": 1})
    OmegaConf.save(mine, tmp_path / "mask" / "mine.yaml")
    cfg, chosen = composed("train", [f"hydra.searchpath=[file://{tmp_path}]"], "mask=mine")
    schema.check(cfg, "train", chosen)
