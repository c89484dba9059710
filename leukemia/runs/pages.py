"""What predictions become: tables, figures, the report, and runs compared with each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from leukemia.compose.data import Sources
from leukemia.compose.preprocess import build_classes, build_layout
from leukemia.data.datamodule import SmearDataModule
from leukemia.data.files.images import BadImage, decode_image, read_bytes
from leukemia.data.files.manifest import Manifest
from leukemia.data.image.preprocess import to_square
from leukemia.data.split.parts import PARTS, Split, read_table
from leukemia.errors import UserError
from leukemia.measure.calibration import Calibration
from leukemia.measure.comparison import compare, comparison_rows
from leukemia.measure.metrics import summarize
from leukemia.measure.predictions import Predictions, read_predictions
from leukemia.measure.referral import judge
from leukemia.models.network import Outputs
from leukemia.report.card import write_card
from leukemia.report.curves import read_history
from leukemia.report.embedding_map import METHODS, EmbeddingMap, check_method, draw_rows, project
from leukemia.report.figures import save
from leukemia.report.findings import DataFacts, Findings, Pictures
from leukemia.report.html import print_rows, write_report
from leukemia.report.mistakes import worst_mistakes
from leukemia.report.probabilities import forest
from leukemia.runs.directory import RunDir, open_run, write_json
from leukemia.settings.settled import is_refitted

if TYPE_CHECKING:
    from leukemia.compose.data import Sources


Views = dict[str, npt.NDArray[np.uint8]]


def describe_run(
    cfg: DictConfig,
    data: Sources,
    seen: Mapping[str, Outputs],
    predictions: Mapping[str, Predictions],
    calibration: Calibration,
) -> dict[str, Any]:
    """Return what `Findings` holds beside the figures, by the names of its fields.

    Args:
        cfg: the run's settings.
        data: set up, with the run's own parts.
        seen: what the network makes of each part.
        predictions: by part, in the order of `data.parts`.
        calibration: the run's.
    """
    return {
        "data": describe_data(cfg, data),
        "embedding": map_embeddings(cfg, seen, predictions),
        "pictures": show_mistakes(data, predictions),
        "calibration": calibration,
        "judged": {
            part: judge(table, calibration, data.split.groups[data.parts[part]])
            for part, table in predictions.items()
        },
    }


def known_floors(cfg: DictConfig, part: str = "test") -> list[dict[str, Any]]:
    """Return what simple features reach on the same files, where that was measured."""
    if cfg.split.name != "paper" or part != "test" or len(cfg.data.classes.names) != 4:
        return []
    return [{"name": name, "accuracy": value} for name, value in (cfg.data.floors or {}).items()]


def describe_data(cfg: DictConfig, data: Sources) -> DataFacts:
    """Return which images a run used; `data` must be set up."""
    names, labels = data.classes.names, data.manifest.labels
    return DataFacts(
        source=cfg.data.name,
        fingerprint=data.manifest.fingerprint,
        counts={
            part: {
                name: int((labels[data.split.parts[part]] == label).sum())
                for label, name in enumerate(names)
            }
            for part in PARTS
        },
        split=cfg.split.name,
        disjoint=disjoint(data.split, data.manifest),
        skipped=len(data.manifest.skipped),
    )


def disjoint(split: Split, manifest: Manifest) -> str:
    """Return what no two parts share; the guard has seen them."""
    if split.protocol == "leaky":
        return "views; they do share images"
    if split.warnings:
        return "files and identical copies; they do share groups of related images"
    contents: dict[int, set[str]] = {}
    for group, sha256 in zip(split.groups.tolist(), manifest.sha256, strict=True):
        contents.setdefault(group, set()).add(sha256)
    related = sum(len(found) > 1 for found in contents.values())
    if related:
        return f"files, identical copies and groups of related images ({related} such groups)"
    return "files and identical copies"


def show_mistakes(data: Sources, predictions: Mapping[str, Predictions]) -> Pictures:
    """Return pictures of each part's worst mistakes: as they are, and as the network sees them.

    Args:
        data: set up; embeddings have no pictures.
        predictions: by part, in the order of `data.parts`.
    """
    if not isinstance(data, SmearDataModule):
        return {}
    return {
        part: {row: _views(data, data.parts[part][row]) for row in worst_mistakes(table)}
        for part, table in predictions.items()
    }


def _views(data: SmearDataModule, row: int) -> Views:
    seen = np.asarray(data.pixels()[0][row])
    spec = data.preprocess
    try:
        whole = decode_image(read_bytes(data.root / data.manifest.files[row]))
    except BadImage:  # moved since the cache was built; the report is worth more than a picture
        return {"as the network sees it": seen}
    image = to_square(whole, spec.crop, spec.mask, spec.size)
    if (image == seen).all():
        return {"image": image}
    return {"image": image, "as the network sees it": seen}


def map_method(cfg: DictConfig) -> str | None:
    """Return ``report.map``: tsne, umap or ``None``; runs from before that setting have tsne.

    Raises:
        UserError: it cannot be used.
    """
    method: str | None = OmegaConf.select(cfg, "report.map", default="tsne")
    if method is not None:
        check_method(method)
    return method


def map_embeddings(
    cfg: DictConfig, seen: Mapping[str, Outputs], predictions: Mapping[str, Predictions]
) -> EmbeddingMap | None:
    """Return the images of some parts on a plane, at most 1000 of them.

    The features are those of the images themselves, also where predictions are means over turned
    and mirrored views.

    Args:
        cfg: see `map_method`.
        seen: what the network makes of each part.
        predictions: by part, each in the order of `seen`.
    """
    method = map_method(cfg)
    if method is None:
        return None
    total = sum(len(table.files) for table in predictions.values())
    drawn = draw_rows(total, cfg.seed)
    features = np.concatenate([seen[part].embeddings.numpy() for part in predictions])[drawn]
    points = project(features, seed=cfg.seed, method=method)
    if points is None:
        return None
    return EmbeddingMap(
        points,
        np.concatenate([table.labels for table in predictions.values()])[drawn],
        np.concatenate([table.predicted for table in predictions.values()])[drawn],
        tuple(np.repeat(list(predictions), [len(t.files) for t in predictions.values()])[drawn]),
        next(iter(predictions.values())).classes,
        METHODS[method],
        features.shape[1],
        total,
    )


NOT_LEAKPROOF = (
    "Parts are disjoint in files and identical copies, not in patients: no patient ids exist."
)
GROUPS_KEPT = (
    "Parts are disjoint in files, identical copies and the groups of data.groups; in patients only "
    "where those are patients."
)
PATIENTS_KEPT = (
    "Parts are disjoint in files, identical copies and patients, as file names tell them "
    "(data.pattern)."
)
NAMES_KEPT = (
    "Parts are disjoint in files, identical copies and what file names tell to belong together "
    "(data.pattern), which is no patient."
)
PLAIN = (
    "No class is set as benign (data.classes.benign=null): the figures are those of a plain "
    "classifier."
)
REFITTED = (
    "The figures of validation, and what was chosen on it, are of weights that learnt from the "
    "training part alone; those kept, which test sees, were then fitted again on both."
)
PAINTED = (
    "PAINTED SMEARS: these figures show that the framework works and say nothing about "
    "leukemia. Set LEUKEMIA_DATA to train on real images."
)


def table_of(
    data: "Sources", rows: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]
) -> Predictions:
    """Return the predictions (N, C) of some rows of the data with their files and labels."""
    files = tuple(data.manifest.files[row] for row in rows)
    return Predictions(files, data.manifest.labels[rows], probabilities, data.classes)


def record(
    run: RunDir, data: "Sources", part: str, probabilities: npt.NDArray[np.float64]
) -> tuple[Predictions, dict[str, Any]]:
    """Write the predictions of a part and return them with their figures.

    Args:
        run: where ``predictions/<part>.csv`` goes.
        data: set up, with the part.
        part: train, val or test.
        probabilities: (N, C), in the order of the part's rows.
    """
    rows = data.parts[part]
    predictions = table_of(data, rows, probabilities)
    predictions.write(run.predictions(part))
    return predictions, mark(data.split, summarize(predictions, data.split.groups[rows]))


def write_page(
    run: RunDir,
    cfg: DictConfig,
    *,
    title: str,
    metrics: Mapping[str, Mapping[str, Any]],
    predictions: Mapping[str, Predictions],
    environment: Mapping[str, Any],
    notes: Sequence[str],
    shown: Mapping[str, Any],
) -> None:
    """Write ``report.html`` and the model card of a run whose history.csv stands.

    Args:
        run: its directory.
        cfg: its settings.
        title: heading.
        metrics: figures by part.
        predictions: the tables they were computed from.
        environment: as in environment.json.
        notes: what a reader must know.
        shown: what `describe_run` returned.
    """
    findings = Findings(
        title=heading(cfg, title),
        metrics=metrics,
        predictions=predictions,
        history=read_history(run.history),
        config_yaml=OmegaConf.to_yaml(cfg, resolve=True),
        environment=environment,
        notes=notes,
        floors=known_floors(cfg),
        **shown,
    )
    write_report(run.report, findings)
    write_card(run.card, findings)


def heading(cfg: DictConfig, title: str) -> str:
    """Return a report's heading, which says so where the run's split leaks on purpose."""
    return f"LEAKY SPLIT: {title}" if cfg.split.name == "leaky" else title


def mark(split: Split, figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a part, with ``leaky: true`` where its split leaks on purpose."""
    return {**figures, "leaky": True} if split.protocol == "leaky" else figures


FEWER_ALARMS = (
    "On acquisitions that it had not seen, experiment=frozen was right more often (0.963 for 0.948 "
    "over the grouped folds at 224 pixels) and this recipe missed fewer cancers (6 for 9 of 2,100)."
)


def caveats(cfg: DictConfig, split: Split) -> list[str]:
    """The notes without which no figure of a run's data may be read."""
    refitted = [REFITTED] if is_refitted(cfg) else []
    plain = [] if build_classes(cfg).has_cancer else [PLAIN]
    if cfg.data.name == "synthetic":
        return [*split.warnings, *refitted, *plain, PAINTED]
    told = {"patient": PATIENTS_KEPT, "group": NAMES_KEPT}
    kept = told.get(build_layout(cfg).relates or "", NOT_LEAKPROOF)
    kept = GROUPS_KEPT if cfg.data.get("groups") else kept
    better = [FEWER_ALARMS] if str(cfg.model.head.get("_target_")).endswith("CorrectedHead") else []
    return [*(split.warnings or [kept]), *refitted, *plain, *better]


def compare_runs(paths: Sequence[Path], part: str, output: Path | None) -> None:
    """Print paired differences from the first run, and write them where a folder is named.

    Args:
        paths: run directories, two or more.
        part: whose predictions are compared.
        output: receives ``comparison.json`` and ``comparison.png``.

    Raises:
        UserError: a run without predictions of the part, or of other files than the first; or
            what it was finished with has changed. Predictions that evaluate made later are no
            part of that.
    """
    tables = {str(path): _predictions(path, part) for path in paths}
    groups = _groups(RunDir(paths[0]), tables[str(paths[0])]) if paths else None
    compared = compare(tables, groups)
    header, rows = comparison_rows(compared)
    print(f"{part} (n = {compared['n']}): difference from {compared['reference']}, 95% interval")
    names, *figures = zip(header, *rows, strict=True)  # a column a run: their names are long
    print_rows(names, figures)
    if output is not None:
        write_json(output / "comparison.json", compared)
        save(forest(compared), output / "comparison.png")


def _predictions(path: Path, part: str) -> Predictions:
    run, settings = open_run(path, trust=True)
    places = [run.predictions(part), run.path / "evaluation" / part / "predictions.csv"]
    table = next((place for place in places if place.is_file()), None)
    if table is None:
        raise UserError(
            f"'{path}' holds no predictions of the part '{part}': make them with "
            f"`python -m leukemia.evaluate run={path} part={part}`."
        )
    if run.done and table.parent == run.path / "predictions":
        run.verify(f"predictions/{table.name}")
    return read_predictions(table, build_classes(settings))


def _groups(run: RunDir, table: Predictions) -> NDArray[np.int64]:
    """Which files belong together by the run's split: copies, patients, acquisitions."""
    if run.done:
        run.verify("split.csv")
    group_of = {row["file"]: row["group"] for row in read_table(run.split)}
    names = [group_of.get(file, f"alone {file}") for file in table.files]
    return np.unique(names, return_inverse=True)[1]
