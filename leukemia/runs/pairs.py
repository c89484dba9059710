"""Finished runs compared on the same files: ``python -m leukemia.evaluate runs=[<a>,<b>]``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leukemia.compose.preprocess import build_classes
from leukemia.data.split.parts import read_table
from leukemia.errors import UserError
from leukemia.measure.comparison import compare, comparison_rows
from leukemia.measure.predictions import Predictions, read_predictions
from leukemia.report.decisions import forest
from leukemia.report.figures import save
from leukemia.report.table import print_rows
from leukemia.runs.directory import RunDir, open_run, write_json


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
