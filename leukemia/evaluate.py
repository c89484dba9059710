"""Score a finished run, or compare several: ``python -m leukemia.evaluate``."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from leukemia import cli
from leukemia.errors import UserError
from leukemia.settings.settled import asked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from leukemia.compose.data import Sources
    from leukemia.data.datamodule import ArrayDataModule
    from leukemia.report.attention import Attention
    from leukemia.runs.finished import FinishedRun

PARTS = ("train", "val", "test")


def main() -> None:
    """Run the command line."""
    cli.run_verb(evaluate, "evaluate", each="run")


def evaluate(cfg: DictConfig) -> None:
    """Score ``run`` on a part or a folder, or compare ``runs``."""
    if (cfg.run is None) == (cfg.runs is None):
        raise UserError("Expected either run=<run directory> or runs=[<a>,<b>,...].")
    if cfg.part is not None and cfg.part not in PARTS:
        raise UserError(f"Expected part to be one of {', '.join(PARTS)}, but got '{cfg.part}'.")
    suite = "suite" in cfg
    if suite and (cfg.runs is not None or (cfg.data.root and cfg.part is None)):
        raise UserError(
            "suite= scores one run on a part of its own: leave out runs=, and give part= with "
            "data.root=."
        )
    if cfg.runs is not None:
        from leukemia.runs.pages import compare_runs

        output = None if cfg.output is None else Path(cfg.output)
        compare_runs([Path(run) for run in cfg.runs], cfg.part or "test", output)
    elif suite:
        score_suite(cfg)
    else:
        score(cfg)


def score(cfg: DictConfig) -> None:
    """Score one run, with its own preprocessing, and write what it shows."""
    # Imported here, so that help never waits for torch.
    from leukemia.data.datamodule import SmearDataModule
    from leukemia.data.split.groups import related_groups
    from leukemia.data.split.leaky import PooledDataModule
    from leukemia.measure.metrics import summarize
    from leukemia.measure.ood import told
    from leukemia.measure.predictions import Predictions
    from leukemia.measure.referral import judge
    from leukemia.report.findings import Findings
    from leukemia.report.html import print_operating, print_summary, write_figures, write_report
    from leukemia.report.mistakes import worst_mistakes
    from leukemia.runs.directory import write_json
    from leukemia.runs.pages import (
        describe_data,
        heading,
        known_floors,
        map_embeddings,
        mark,
        show_mistakes,
    )
    from leukemia.runs.scoring import judge_part, other_folder, own_data, strangeness
    from leukemia.settings.settled import is_refitted

    finished = _open(cfg)
    if cfg.part is None and cfg.data.root is not None and _unlabelled(finished, cfg.data.root):
        return predict_only(finished, cfg)
    calibration = finished.calibration(cfg.evaluate.sensitivity)
    own: Sources | None = None
    data: ArrayDataModule
    notes: list[str] = []
    if cfg.data.root is None or cfg.part is not None:
        part = name = cfg.part or "test"
        data = own = own_data(finished, cfg.data.root)
        rows = own.parts[part]
        manifest, groups = own.manifest.take(rows), own.split.groups[rows]
        notes += own.split.warnings
        if part == "train" or (part == "val" and is_refitted(finished.cfg)):
            notes.append("The network was trained on these images: they say nothing of new ones.")
    else:
        part, name = "test", _name(cfg.data.root)
        data, manifest = other_folder(finished, Path(cfg.data.root))
        groups = related_groups(manifest)
    seen = judge_part(finished, data, part)
    scores = seen.probabilities.numpy()
    predictions = Predictions(manifest.files, manifest.labels, scores, finished.classes)
    judgement = judge(predictions, calibration, groups)
    figures = {name: {**summarize(predictions, groups), "judgement": judgement}}
    if own:
        figures[name] = mark(own.split, figures[name])
    # Each validation image is itself among what the score measures the distance to.
    strange = None if own and part == "val" else strangeness(finished, seen.embeddings)
    if strange is not None:
        figures[name]["out_of_distribution"] = strange.mean()
        notes.append(told(strange))
    output = _output(cfg, finished, name)
    tables = {name: predictions}
    pictures = dict(show_mistakes(own, tables).get(name, {})) if own else {}
    attention: dict[str, Mapping[str, NDArray[np.float64]]] = {}
    # Views of a pool are no files that could be looked at.
    looked_at = finished.cfg.data.name != "embeddings" and not isinstance(own, PooledDataModule)
    if cfg.evaluate.explain and looked_at:
        root = own.root if isinstance(own, SmearDataModule) else Path(cfg.data.root)
        looks, maps = _look(
            finished,
            [root / file for file in manifest.files],
            scores,
            worst_mistakes(predictions),
            progress=cfg.runtime.progress,
        )
        attention[name] = looks.shares["grad_cam"]
        notes += looks.warnings(predictions.labels, finished.classes.names)
        pictures = {row: {**pictures.get(row, {}), **maps[row]} for row in maps}
    settings = finished.cfg
    findings = Findings(
        title=heading(settings, f"{settings.model.name} on {name}"),
        metrics=figures,
        predictions=tables,
        config_yaml=finished.run.config.read_text(),
        notes=notes,
        floors=known_floors(settings, part) if own else [],
        calibration=calibration,
        judged={name: judgement},
        data=describe_data(settings, own) if own else None,
        embedding=map_embeddings(settings, {name: seen}, tables) if own else None,
        pictures={name: pictures},
        attention=attention,
    )
    with _writing(finished, output):
        predictions.write(output / "predictions.csv")
        write_json(output / "metrics.json", figures)
        write_report(output / "report.html", findings)
        write_figures(output / "figures", findings)
    print_summary(figures, finished.classes, {"evaluation": output}, notes)
    if finished.classes.has_cancer:
        print_operating(judgement["operating"], calibration)


def score_suite(cfg: DictConfig) -> None:
    """Score one run on a part of its own under the changes of a suite."""
    from leukemia.data.datamodule import SmearDataModule
    from leukemia.measure.robustness import summary_rows
    from leukemia.report.html import print_rows
    from leukemia.report.suite_page import write_suite
    from leukemia.runs.directory import write_json
    from leukemia.runs.pages import heading
    from leukemia.runs.scoring import own_data
    from leukemia.runs.suite import run_suite

    # One view of each, as of a new image.
    finished = _open(cfg, tta=False)
    part, name = cfg.part or "test", cfg.suite.name
    _ = finished.preprocess  # refuses a run that takes no images
    data = own_data(finished, cfg.data.root)
    assert isinstance(data, SmearDataModule)
    title = heading(finished.cfg, f"{finished.cfg.model.name} on {part}: suite {name}")
    spec = {key: value for key, value in cfg.suite.items() if key != "name"}
    suite = run_suite(finished, data, part, title=title, progress=cfg.runtime.progress, **spec)
    output = _output(cfg, finished, part)
    told = {"run": str(cfg.run), "part": part} | suite.to_dict()
    with _writing(finished, output):
        write_json(output / f"suite_{name}.json", told)
        write_suite(output, name, suite)
    print(f"{part} (n = {suite.n}), moderate strengths: {', '.join(map(str, suite.moderate))}")
    print_rows(*summary_rows(suite))
    print(f"suite: {output / f'suite_{name}.html'}")


def _open(cfg: DictConfig, **more: object) -> "FinishedRun":
    """Open the run for this machine; what cannot be written is refused before hours of work."""
    from leukemia.disk import check_writable
    from leukemia.runs.finished import open_finished
    from leukemia.runs.scoring import placed

    output = Path(cfg.output or Path(cfg.run) / "evaluation").expanduser()
    # null = as the run was trained; of threads, as torch finds.
    own = {**asked(cfg), "threads": cfg.runtime.threads}
    finished = open_finished(Path(cfg.run), trust=cfg.trust, **own, **more)
    check_writable(output, "Name another folder by output=.")
    return placed(finished, {f"data.{k}": v for k, v in cfg.data.items() if k != "root"})


def _look(
    finished: "FinishedRun",
    files: Sequence[Path],
    scores: "NDArray[np.float64]",
    shown: Sequence[int],
    *,
    progress: bool,
) -> tuple["Attention", dict[int, dict[str, "NDArray[np.uint8]"]]]:
    """Return how Grad-CAM divides on all images, and its pictures of those to be shown."""
    from leukemia.data.files.images import BadImage
    from leukemia.report.attention import overlay
    from leukemia.runs.explainer import Explainer, attention

    explainer = Explainer(finished, methods=("grad_cam",))
    pictures = {}
    for row in shown:
        picture = next(explainer.pictures([files[row]]))
        if not isinstance(picture, BadImage):
            heat = explainer.explain(picture, scores[row]).maps["grad_cam"]
            pictures[row] = {"Grad-CAM": overlay(picture, heat)}
    return attention(explainer, files, scores, progress=progress), pictures


def predict_only(finished: "FinishedRun", cfg: DictConfig) -> None:
    """Write what the run says of images whose classes nobody has told, or of other classes.

    Images that the run was trained or selected on are refused in folders of other classes, which
    may be its own ones renamed, and told of loose images.
    """
    from leukemia.data.files.images import name_some
    from leukemia.data.files.inputs import find_images
    from leukemia.disk import write_text
    from leukemia.runs.predictor import Predictor
    from leukemia.runs.scoring import refuse_known_files

    found = find_images(cfg.data.root)
    try:
        refuse_known_files(finished, found.names, found.paths, progress=cfg.runtime.progress)
    except UserError as error:
        if any(entry.is_dir() for entry in Path(cfg.data.root).iterdir()):
            raise
        print(f"Note: {error}", file=sys.stderr)
    scores, bad = Predictor(finished).score(found.names, found.paths, progress=cfg.runtime.progress)
    output = _output(cfg, finished, _name(cfg.data.root)) / "predictions.csv"
    with _writing(finished, output):
        write_text(output, scores.to_csv())
    print(
        f"None of the run's classes ({', '.join(finished.classes.names)}) is told in "
        f"'{cfg.data.root}': predictions only, in {output}"
    )
    if found.passed_over:
        print(f"Passed over: {name_some(found.passed_over)}", file=sys.stderr)
    if bad:
        cli.fail(
            f"{len(bad)} files left out: {name_some([f'{b.path} ({b.reason})' for b in bad])}", 1
        )


def _unlabelled(finished: "FinishedRun", root: str) -> bool:
    from leukemia.runs.scoring import tells_classes

    folder = Path(root)
    return folder.is_dir() and not tells_classes(finished, folder)


def _name(folder: str) -> str:
    """What the figures of other images are filed under: never the name of a part of the run."""
    name = Path(folder).resolve().name
    return name if name and name not in PARTS else f"folder_{name}"


@contextmanager
def _writing(finished: "FinishedRun", output: Path) -> Iterator[None]:
    """Hold the run while files are written into it: what kills left there is then removed."""
    own = output.resolve().is_relative_to(finished.run.path.resolve())
    with finished.run.held(wait=True) if own else nullcontext():
        yield


def _output(cfg: DictConfig, finished: "FinishedRun", name: str) -> Path:
    return Path(cfg.output or finished.run.path / "evaluation" / name)


if __name__ == "__main__":
    main()
