"""`MODEL_CARD.md`: what a run's model is for, what it reached, and what was not shown.

After M. Mitchell et al. (2019), doi:10.1145/3287560.3287596.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import yaml

from leukemia.disk import write_text
from leukemia.measure.intervals import shown
from leukemia.report.findings import Findings
from leukemia.report.probabilities import (
    CALIBRATION_HEADER,
    OPERATING_HEADER,
    calibration_rows,
    calibration_said,
    operating_rows,
)
from leukemia.report.summary import scalars_of
from leukemia.text import visible

STATUSES = ("filled", "partly", "unmet", "not applicable")


@dataclass(frozen=True)
class Answer:
    """What a run says to one item.

    Args:
        id: the guideline's number of the item, such as `12a`.
        topic: what it asks for, paraphrased.
        status: one of `STATUSES`.
        told: where it is answered, or why it is not.
    """

    id: str
    topic: str
    status: str
    told: str


@dataclass(frozen=True)
class Guideline:
    """A guideline and the answers of a run.

    Args:
        name: such as `CLAIM 2024`.
        source: authors, year and DOI.
        answers: one an item, in its order.
    """

    name: str
    source: str
    answers: tuple[Answer, ...]


def known_of(found: Findings) -> set[str]:
    """What a run is known to hold, of what items may need."""
    source, fitted = found.data and found.data.source, found.calibration
    known = {
        "test": "test" in found.metrics,
        "aria": source == "aria",
        "images": source not in (None, "embeddings"),
        "calibration": fitted is not None,
        "operating": fitted is not None and fitted.threshold is not None and bool(found.judged),
        "plain": not found.classes.has_cancer,
        "maps": any(found.attention.values()),
    }
    return {name for name, holds in known.items() if holds}


def answer_all(known: Collection[str]) -> list[Guideline]:
    """Every item of both guidelines, answered.

    Args:
        known: what the run holds, see `known_of`.
    """
    return [
        Guideline(
            entry["name"], entry["source"], tuple(_answer(item, known) for item in entry["item"])
        )
        for entry in _read()
    ]


def _answer(item: dict[str, str], known: Collection[str]) -> Answer:
    if "na" in item:
        status, told = "not applicable", item["na"]
    elif "filled" not in item or ("needs" in item and item["needs"] not in known):
        status, told = "unmet", item["unmet"]
    else:
        # Of a run without a benign class, the same without what speaks of cancer.
        said = item["plain"] if "plain" in item and "plain" in known else item["filled"]
        status = "partly" if "lacks" in item else "filled"
        told = f"{said}. Lacking: {item['lacks']}" if "lacks" in item else said
    return Answer(item["id"], item["topic"], status, told)


@cache
def _read() -> list[dict[str, Any]]:
    text = Path(__file__).with_name("checklist.toml").read_text(encoding="utf-8")
    guidelines: list[dict[str, Any]] = tomllib.loads(text)["guideline"]
    return guidelines


_SOURCES = {
    "aria": (
        "Blood smears of the ALL image dataset of Aria et al. (2021), collected by others before "
        "(retrospective); Kaggle `mehradaria/leukemia`, database under ODbL, images (c) their "
        "authors, who ask not to pass them on. The whole dataset is said to show 89 patients; "
        "no patient id was published."
    ),
    "embeddings": "Embeddings made elsewhere from images; the run never saw the images.",
    "cnmc": (
        "Single cells of C-NMC 2019 (Gupta and Gupta; The Cancer Imaging Archive, "
        "doi:10.7937/tcia.2019.dc64i46r), cut out, stain-normalised and on black, collected by "
        "others before (retrospective). File names tell the patient."
    ),
    "all_idb": (
        "Smears or single cells of ALL-IDB (Labati, Piuri and Scotti 2011, "
        "doi:10.1109/ICIP.2011.6115881), collected by others before (retrospective). No patient "
        "id is in the file names."
    ),
    "pbc": (
        "Single cells of healthy people, Hospital Clinic of Barcelona (Acevedo et al. 2020, "
        "doi:10.1016/j.dib.2020.105474), collected by others before (retrospective). No patient "
        "id is in the file names."
    ),
    "raabin": (
        "White cells cut out of photographs, Raabin-WBC (Kouzehkanan et al. 2022, "
        "doi:10.1038/s41598-021-04426-x), collected by others before (retrospective). File names "
        "tell the photograph, not the patient."
    ),
    "synthetic": (
        "PAINTED smears, drawn by a program: the figures say that the software works, and "
        "nothing about leukemia."
    ),
}
_OTHER_SOURCE = "Images of a folder; the run knows nothing of their origin but what is listed here."


_OF_CANCER = {
    "worst": "**False negatives** weigh most: a doctor who trusts a missed cancer may let the "
    "disease go on. A\n  doubtful image should rather be called malignant.",
    "rare": "The classes are far more even here than in a population, where ALL is rare:\n"
    "  there the model will call too many images cancer.",
}
_PLAIN = {
    "worst": "Which mistake weighs most was not told to the model: no class is set as benign, so "
    "all of\n  them counted alike.",
    "rare": "Classes are hardly as frequent here as where a model is used: there\n"
    "  a rare one would be called too often.",
}
_MOST_COLUMNS = 12  # classes, above which the confusion is left to the report


_MEANT = re.compile(r"([\\`*_|]|](?=[(\[:]))")  # what Markdown takes for more than itself


def write_card(path: Path, found: Findings) -> None:
    """Write the model card of a run, atomically, in Markdown.

    Args:
        path: the file.
        found: what is known; what it does not hold is said to be missing.
    """
    template = Template(Path(__file__).with_suffix(".md").read_text(encoding="utf-8"))
    sections = {
        "model": _model,
        "data": _data,
        "figures": _figures,
        "thresholds": _thresholds,
        "calibration": _calibration,
        "checklists": _checklists,
    }
    filled = {name: "\n".join(section(found)).strip() for name, section in sections.items()}
    notes = "\n".join(f"- {_plain(note)}" for note in found.notes)
    ethics = _OF_CANCER if found.classes.has_cancer else _PLAIN
    text = template.substitute(title=_plain(found.title), notes=notes, **filled, **ethics)
    write_text(path, text)


def _plain(text: object) -> str:
    """Return a text that Markdown shows as it is: no tag, picture, code, emphasis or new cell."""
    return _MEANT.sub(r"\\\1", escape(visible(str(text)), quote=False))


def _model(found: Findings) -> Iterator[str]:
    config = yaml.safe_load(found.config_yaml)

    def at(name: str) -> Any:  # noqa: ANN401 - settings hold anything
        value = config
        for key in name.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def name_of(node: str) -> str:
        return str(at(f"{node}._target_")).rpartition(".")[2]

    whole = name_of("model.backbone") == "BaselineCNN"
    classes = found.classes
    meant = "a plain classifier: no class is set as benign"
    if classes.has_cancer:
        meant = f"every class but {classes.benign_words} is cancer"
    stages = list(dict.fromkeys(str(row["stage"]) for row in found.history if row.get("stage")))
    rows = [
        ("Aim", "development of a classifier, and its evaluation on images held out"),
        ("Classes", f"{', '.join(classes.names)}; {meant}"),
    ]
    if at("data.name") == "embeddings":
        rows += [("Input", "embeddings made elsewhere"), ("Network", name_of("model.head"))]
    elif config:
        masked = f"crop: {at('crop.mode')}; mask: {at('mask.order')}"
        if at("mask.background"):
            masked += f", the rest at {at('mask.background'):g} of its light"
        if at("stain._target_"):
            masked = f"stain normalised: {name_of('stain')}; {masked}"
        if at("stain.grey"):
            masked = f"grey; {masked}"
        layers = at("model.backbone.layers")
        pooled = "; whole and by magenta" if at("model.backbone.attend") else ""
        backbone = at("model.name") + (f" ({', '.join(layers)}{pooled})" if layers else "")
        if at("model.backbone.resize"):
            masked += f"; the network sees it at {at('model.backbone.resize')} pixels"
        rows += [
            ("Input", f"RGB image, {at('crop.size')} pixels square ({masked})"),
            ("Network", backbone if whole else f"{backbone} + {name_of('model.head')}"),
            ("Initial weights", Path(at("model.backbone.weights") or "random").name),
        ]
    closed = name_of("model.head") == "DiscriminantHead"
    for name in stages:
        kept = f"best validation {at(f'stage.{name}.monitor')}"
        if name == "refit":
            kept = "the last, from training and validation together"
        if closed and (name == "head" or "finetune" not in stages):
            kept = "of the head, by linear discriminant analysis"
        rows.append((f"Weights kept of stage {name}", kept))
    turned = at("runtime.tta") and at("data.name") != "embeddings"
    averaged = ", the mean over turned and mirrored views" if turned else ""
    rows += [
        ("Output", f"a probability of each class, by one network{averaged}"),
        *(
            [("P(cancer)", f"the sum over all classes but {classes.benign_words}")]
            if classes.has_cancer
            else []
        ),
        ("Software", _software(found.environment)),
        ("Hardware", str(found.environment.get("device", "not recorded"))),
        ("Seed", str(at("seed")) if config else "not recorded"),
    ]
    yield from _table(["what", "value"], rows)


def _software(environment: Mapping[str, Any]) -> str:
    git, packages = environment.get("git"), environment.get("packages") or {}
    commit = f", commit {git['commit'][:12]}" if git else ""
    changed = " with changes" if git and git["dirty"] else ""
    torch = f", torch {packages['torch']}" if packages.get("torch") else ""
    return f"package leukemia{commit}{changed}{torch}; all versions in environment.json"


def _data(found: Findings) -> Iterator[str]:
    facts = found.data
    if facts is None:
        yield "Not recorded."
        return
    yield _SOURCES.get(facts.source, _OTHER_SOURCE)
    yield ""
    names = list(next(iter(facts.counts.values())))
    rows = [
        ["part", *names, "all"],
        *(
            [part, *(str(count[name]) for name in names), str(sum(count.values()))]
            for part, count in facts.counts.items()
        ),
    ]
    if len(names) > _MOST_COLUMNS:
        rows = [list(column) for column in zip(*rows, strict=True)]
        rows[0][0] = "class"
    yield from _table(rows[0], rows[1:])
    yield ""
    yield "- Label: the class folder of a file."
    yield f"- Parts: split {_plain(facts.split)}, listed in `split.csv`."
    yield f"- **No two parts share {facts.disjoint}.** That is shown for patients only where the"
    yield "  groups are patients: nothing else is known of them here."
    yield f"- Unreadable files left out: {facts.skipped}."
    yield f"- Fingerprint (SHA-256 over files, labels and contents): `{facts.fingerprint}`."


def _figures(found: Findings) -> Iterator[str]:
    if "test" not in found.metrics:
        yield "**The test part was not opened.** Validation guided this run: its figures flatter."
        yield ""
    metrics = found.metrics
    yield from _table(
        ["with 95% intervals", *(f"{name} (n = {part['n']})" for name, part in metrics.items())],
        [
            (label, *(shown(part[key], part["interval"][key]) for part in metrics.values()))
            for key, label in scalars_of(metrics).items()
        ],
    )
    for name, part in metrics.items():
        classes = found.predictions[name].classes
        many = len(classes) > _MOST_COLUMNS
        right = "their confusion is in report.html" if many else "on the right the images called so"
        yield from ("", f"By class, {name}; {right}:", "")
        yield from _table(
            ["true class", "precision", "recall", "F1", *(() if many else classes.names)],
            [
                (
                    label,
                    shown(part["precision"][label]),
                    shown(part["recall"][label], part["interval"][f"recall.{label}"]),
                    shown(part["f1"][label]),
                    *(() if many else part["confusion"][i]),
                )
                for i, label in enumerate(classes.names)
            ],
        )
    if found.floors:
        floors = "; ".join(
            f"{_plain(floor['name'])} {floor['accuracy']:.3f}" for floor in found.floors
        )
        yield from ("", f"Simple features without shape reach on the test files: {floors}.")


def _thresholds(found: Findings) -> Iterator[str]:
    fitted = found.calibration
    if fitted is None:
        if found.classes.has_cancer:
            yield "None was chosen: an image counts as cancer where its most probable class is not"
            yield f"{'the benign one' if len(found.classes.benigns) == 1 else 'a benign one'}."
        else:
            yield "None was chosen: the most probable class is the answer."
        return
    doubtful = (
        f"An image is uncertain below a top probability of {fitted.confidence:.4g}, "
        f"which at most {fitted.review:.0%} of {_plain(fitted.part)} have."
    )
    if fitted.threshold is None:
        yield f"The most probable class is the answer. {doubtful}"
        return
    yield (
        f"Chosen on {_plain(fitted.part)} ({fitted.n} images) for a sensitivity of at least "
        f"{fitted.sensitivity:g}, on calibrated probabilities: an image is called cancer from "
        f"P(cancer) = {fitted.threshold:.4g} on. The summary above takes the most probable class "
        f"instead. {doubtful}"
    )
    if found.judged:
        yield ""
        yield from _table(OPERATING_HEADER, operating_rows(found))


def _calibration(found: Findings) -> Iterator[str]:
    if found.calibration is None:
        yield "None was fitted: the probabilities are the network's own, and what they are worth is"
        yield "the calibration error, Brier score and likelihood above."
        return
    yield _plain(calibration_said(found.calibration))
    if found.judged:
        yield ""
        yield from _table(CALIBRATION_HEADER, calibration_rows(found))


def _checklists(found: Findings) -> Iterator[str]:
    for guideline in answer_all(known_of(found)):
        counts = Counter(answer.status for answer in guideline.answers)
        said = ", ".join(f"{counts[status]} {status}" for status in STATUSES)
        yield from ("", f"### {guideline.name} ({guideline.source})", "", f"{said}.", "")
        yield from _table(
            ["item", "asks for", "status", "where, or why not"],
            [(a.id, a.topic, a.status, a.told) for a in guideline.answers],
        )


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    lines = [f"| {' | '.join(map(_plain, row))} |" for row in (header, *rows)]
    yield from (lines[0], f"|{' --- |' * len(header)}", *lines[1:])
