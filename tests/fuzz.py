"""Configurations that nobody meant: every setting and group of every verb, with values of no use.

`fuzz` is what the slow test and a campaign call. A case is composed, and checked as its verb does
before it looks at an image: it must be accepted, or refused by one error with one line.
"""

import contextlib
import os
import pickle
import random
import resource
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from leukemia.__main__ import module_of
from leukemia.cli import CONF, one_line
from leukemia.errors import UserError
from leukemia.settings import options, schema
from leukemia.settings.arguments import quoted

SECONDS = 20  # a case, at most
MEMORY = 24 * 2**30  # bytes of addresses

SMALL = ["model.backbone.name=shufflenet_v2_x0_5", "crop.size=64", "model.backbone.weights=null"]
BASES: dict[str, list[list[str]]] = {
    "train": [
        ["data=synthetic", *SMALL],
        ["data=synthetic", "experiment=finetuned", "stages=[head,finetune]", *SMALL],
        ["data=folder", "data.root=images", "split=kfold", "stain=reinhard", *SMALL],
        ["model=baseline", "stain=macenko", "mask=kmeans"],
        ["data=embeddings", "data.file=toy.npz", "split=stratified"],
        ["experiment=paper", "logger=[csv,tensorboard]", "data.root=images"],
        ["split=leaky", "head=discriminant", "stain=background", "data.root=images", *SMALL],
        ["split=file", "split.file=split.csv", "mask=dimmed", "schedule=cosine", *SMALL],
    ],
    "audit": [["data=folder", "data.root=images"], ["data.root=images", "output=out"]],
    "evaluate": [["run=run"], ["run=run", "suite=stain", "part=val"], ["runs=[run,run2]"]],
    "predict": [["run=run", "input=image.png"]],
    "explain": [["run=run", "input=image.png"]],
    "study": [["dir=study"]],
}
VALUES = [
    *("null", "nan", "inf", "-inf", "true", "false", "abc", "0", "1", "2", "-1", "1.5", "100000"),
    *("1e308", "-1e-308", "9" * 19, "9" * 40, "-" + "9" * 40, "''", "' '", "[]", "{}", "[1,a]"),
    *("[null]", "[nan]", "[[]]", "{a:1}", "{a:{b:nan}}", "[0]", "[1,1,1]", "[0.5,0.5,0.5]", "1_0"),
    *("'größe 細胞'", "'a,b=c#d (1)'", "'<script>'", "'it\\'s'", "../../x", "/dev/null", "~", "-"),
    *("'${nowhere}'", "${seed}", "???", "a" * 5000, "\udcff", "\x1b[31m", "\x00", "0x10", "'1'"),
]
NUMBERS = ["0", "1", "2", "3", "-1", "0.5", "1e308", "100000", "1e-9", "2147483648", "true", "null"]
WRITINGS = [*["{}"] * 16, "++{}", "+{}", "+{}_", "{}s", "--{}", "~{}"]


@dataclass
class Campaign:
    """What came of many cases.

    Args:
        counts: of cases accepted and refused.
        accepted: the cases that were.
        failures: what must not be, with its case.
    """

    counts: Counter[str] = field(default_factory=Counter)
    accepted: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def fuzz(cases: int, seed: int) -> Campaign:
    """Try configurations.

    Args:
        cases: how many.
        seed: of what is tried.
    """
    rng, campaign = random.Random(seed), Campaign()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), _bounded():
        Path("images").mkdir()
        # Imports before the clock runs: one that is cut off leaves half a module.
        for verb, bases in BASES.items():
            with contextlib.suppress(UserError):
                before_images(verb, _composed(verb, tuple(bases[0]))[0], "seed")
        for _ in range(cases):
            verb, base, argument = _draw(rng)
            case = f"{verb} {' '.join(base)} {ascii(argument)[:120]}"
            try:
                with _limited():
                    said = attempt(verb, base, argument)
            except Exception as error:
                campaign.failures.append(f"{case}: {type(error).__name__}: {error}")
                continue
            campaign.counts["accepted" if said is None else "refused"] += 1
            if said is None:
                campaign.accepted.append(case)
            if said is not None and ("\n" in said or not said.strip() or len(said) > 1500):
                campaign.failures.append(f"{case}: not one line of use: {said!r}")
    return campaign


def attempt(verb: str, base: list[str], argument: str) -> str | None:
    """Do what a verb does before it looks at images; return the line that refuses, if any."""
    try:
        cfg, chosen = composed(verb, base, argument)
        schema.check(cfg, verb, chosen)
        schema.unread(verb, [argument])
        before_images(verb, cfg, _key(argument))
    except (HydraException, OmegaConfBaseException) as error:
        return one_line(error, verb)
    except UserError as error:
        return str(error)
    return None


def composed(verb: str, base: list[str], argument: str) -> tuple[DictConfig, dict[str, object]]:
    """Compose settings as the command line does, and return them with the options of all groups.

    Args:
        verb: whose they are.
        base: arguments that many cases share, composed once.
        argument: one more.
    """
    given = quoted(argument, verb)
    if _key(argument) in options.groups():
        return _composed(verb, (*base, given))
    cfg, chosen = pickle.loads(_kept(verb, tuple(base)))
    parsed = OverridesParser.create().parse_overrides([given])
    ConfigLoaderImpl._apply_overrides_to_config(parsed, cfg)
    return cfg, chosen


def _key(argument: str) -> str:
    return argument.partition("=")[0].lstrip("+~-").partition("@")[0]


def before_images(verb: str, cfg: DictConfig, key: str) -> None:
    """Check and build as a verb does, up to the first image or run that it opens."""
    if verb != "train":
        getattr(import_module(module_of(verb)), verb)(cfg)
        return
    from leukemia.compose.data import build_augmenter
    from leukemia.compose.model import build_classifier, build_stages, check_settings
    from leukemia.compose.network import build_hardware, build_network
    from leukemia.settings.settled import difference, settle
    from leukemia.tracking.loggers import check_loggers

    settle(cfg, multirun=False)
    check_settings(cfg)
    check_loggers(cfg)
    build_hardware(cfg)
    build_augmenter(cfg)
    stored = OmegaConf.create(OmegaConf.to_yaml(cfg, resolve=True))
    assert difference(stored, cfg) is None, difference(stored, cfg)
    if key.partition(".")[0] in ("model", "crop", "data", "seed", "head"):
        embeddings = 8 if cfg.data.name == "embeddings" else None
        network, _ = build_network(cfg, embeddings, load=False)
        for stage in build_stages(cfg):
            module = build_classifier(cfg, network, stage.name)
            assert module.optimizer is not None
            module.optimizer(network.named_parameters())


def _draw(rng: random.Random) -> tuple[str, list[str], str]:
    verb = rng.choice(["train"] * 6 + ["audit"] * 2 + ["evaluate", "predict", "explain", "study"])
    base = rng.choice(BASES[verb])
    key = rng.choice([*_keys(verb, tuple(base)), *options.chosen_by(verb)])
    value = rng.choice(rng.choice([VALUES, NUMBERS]))
    return verb, base, f"{rng.choice(WRITINGS).format(key)}={value}"


@cache
def _keys(verb: str, base: tuple[str, ...]) -> list[str]:
    def walk(node: object, prefix: str) -> Iterator[str]:
        if isinstance(node, dict):
            for name, value in node.items():
                key = f"{prefix}.{name}".lstrip(".")
                yield key
                yield from walk(value, key)

    cfg, _ = _composed(verb, base)
    return list(walk(OmegaConf.to_container(cfg, resolve=False), ""))


@cache
def _kept(verb: str, arguments: tuple[str, ...]) -> bytes:
    return pickle.dumps(_composed(verb, arguments))


def _composed(verb: str, arguments: tuple[str, ...]) -> tuple[DictConfig, dict[str, object]]:
    typed = [quoted(argument, verb) for argument in arguments]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose(verb, typed, return_hydra_config=True)
    chosen = dict(cfg.hydra.runtime.choices)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg, chosen


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"no answer within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """No case may take the machine's memory, or leave another environment."""
    limits, environment = resource.getrlimit(resource.RLIMIT_AS), dict(os.environ)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        os.environ.clear()
        os.environ.update(environment)
