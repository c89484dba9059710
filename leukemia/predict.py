"""Say what a finished run makes of new images: ``python -m leukemia.predict``."""

import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from leukemia import cli
from leukemia.disk import check_writable, write_text
from leukemia.errors import UserError
from leukemia.runs.directory import open_run
from leukemia.settings.settled import asked
from leukemia.text import visible

if TYPE_CHECKING:
    from leukemia.data.files.inputs import Found
    from leukemia.report.scores import Scores

NO_DIAGNOSIS = "Research software, no diagnosis."


def main() -> None:
    """Run the command line."""
    cli.run_verb(predict, "predict", each="run")


def predict(cfg: DictConfig) -> None:
    """Judge the images of ``input``; leave with status 1 where some could not be used."""
    # Imported here, so that help never waits for numpy.
    from leukemia.data.files.images import name_some
    from leukemia.data.files.inputs import find_images

    for key in ("run", "input"):
        if cfg[key] is None:
            raise UserError(f"Expected {key}=..., but got none: --help shows how.")
    found = find_images(cfg.input if isinstance(cfg.input, str) else list(cfg.input))
    output, form = _target(cfg, found)
    _, own = open_run(Path(cfg.run).expanduser(), trust=True)  # before torch is waited for

    from leukemia.runs.predictor import open_predictor

    wanted = asked(cfg)
    predictor = open_predictor(cfg.run, trust=cfg.trust, **wanted)
    # Pillow's, about files that are then either read whole or listed as bad.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    began = time.monotonic()
    scores, bad = predictor.score(found.names, found.paths, progress=cfg.runtime.progress)
    seconds = time.monotonic() - began
    if len(scores):
        if found.single:
            print(scores.printout())
        else:
            print(_summary(scores), f"{len(scores) / seconds:.0f} images/s")
        if output is not None:
            write_text(output, scores.to_csv() if form == "csv" else scores.to_jsonl())
            print(f"Written to {output}")
        print(*_notes(own, wanted), sep="\n")
    if found.passed_over:
        print(f"Passed over: {name_some(found.passed_over)}", file=sys.stderr)
    for file in bad:
        print(visible(f"  {file.path}: {file.reason}"), file=sys.stderr)
    if bad:
        cli.fail(f"{len(bad)} of {len(found.paths)} files cannot be used (named above).", 1)


def _target(cfg: DictConfig, found: "Found") -> tuple[Path | None, str]:
    """Return the file to write, if any, and its format.

    Raises:
        UserError: an unknown format, or a file that must not or cannot be written.
    """
    from leukemia.report.scores import is_scores

    if cfg.format not in (None, "csv", "jsonl"):
        raise UserError(f"Expected format to be csv or jsonl, but got '{cfg.format}'.")
    named = None if cfg.output is None else Path(cfg.output).expanduser()
    form = cfg.format or ("jsonl" if named and named.suffix == ".jsonl" else "csv")
    if named is None and found.single:
        return None, form
    output = named or Path(f"predictions.{form}")
    if output.is_dir():
        raise UserError(f"Expected output to be a file, but '{output}' is a folder.")
    if output.exists() and not is_scores(output):
        raise UserError(
            f"'{output}' exists and is no table of leukemia.predict: name another output."
        )
    check_writable(output.parent, "Name another output.")
    return output, form


def _summary(scores: "Scores") -> str:
    counts = Counter(scores.predicted)
    names = scores.classes.names
    # Of many classes those that were named.
    parts = [f"{name} {counts[name]}" for name in names if counts[name] or len(names) <= 10]
    parts.append(f"uncertain {len(scores) - int(scores.certain.sum())}")
    if scores.strange is not None:
        parts.append(f"out of distribution {int(scores.strange.flags.sum())}")
    return f"{len(scores)} images: {', '.join(parts)};"


def _notes(own: DictConfig, wanted: dict[str, object]) -> list[str]:
    notes = []
    if own.data.name == "synthetic":
        notes.append("This run saw painted smears only: its answers say nothing about leukemia.")
    if wanted["tta"] and not own.runtime.tta:
        notes.append(
            "The calibration was fitted without test-time views (runtime.tta=false): "
            "here it holds only roughly."
        )
    return [*notes, NO_DIAGNOSIS]


if __name__ == "__main__":
    main()
