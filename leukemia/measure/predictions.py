"""The table of predictions, from which every figure of a run is computed."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leukemia.classes import Classes
from leukemia.disk import write_text
from leukemia.errors import UserError
from leukemia.text import as_cell, from_cell

SUM_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of a part's images beside their labels.

    Args:
        files: N relative paths.
        labels: true class of each file, (N,), in 0 to C - 1.
        probabilities: (N, C), in [0, 1], each row summing to 1; kept as float64.
        classes: names and order of the C classes.

    Raises:
        UserError: no file, lengths that differ, a label that is no class, or probabilities that
            are nan, outside [0, 1] or do not sum to 1; the offending file is named.
    """

    files: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    classes: Classes

    def __post_init__(self) -> None:
        """Refuse a table whose figures would mean nothing."""
        # Figures of float32 would differ from those of the file read back.
        object.__setattr__(self, "probabilities", np.asarray(self.probabilities, np.float64))
        n = len(self.files)
        if n == 0:
            raise UserError("Expected predictions of at least one file, but got none.")
        if self.labels.shape != (n,) or self.probabilities.shape != (n, len(self.classes)):
            raise UserError(
                f"Expected {n} labels and {n} x {len(self.classes)} probabilities for {n} files, "
                f"but got shapes {self.labels.shape} and {self.probabilities.shape}."
            )
        self._refuse(
            ~np.isin(self.labels, np.arange(len(self.classes))),
            f"a label in 0 to {len(self.classes) - 1}",
            self.labels,
        )
        # Written so that nan fails the comparison too.
        inside = (self.probabilities >= 0) & (self.probabilities <= 1 + SUM_TOLERANCE)
        outside: NDArray[np.bool_] = np.any(~inside, axis=1)
        self._refuse(outside, "probabilities in [0, 1]", self.probabilities)
        sums = self.probabilities.sum(axis=1)
        self._refuse(np.abs(sums - 1) > SUM_TOLERANCE, "probabilities that sum to 1", sums)

    def _refuse(self, bad: NDArray[np.bool_], expected: str, found: NDArray[np.generic]) -> None:
        if bad.any():
            first = int(bad.argmax())
            more = f" ({int(bad.sum())} such rows)" if bad.sum() > 1 else ""
            raise UserError(
                f"Expected {expected} for file '{self.files[first]}', "
                f"but got {found[first].tolist()}{more}."
            )

    @property
    def p_cancer(self) -> NDArray[np.float64]:
        """Probability of any cancerous class, (N,), in [0, 1]; only where a class is benign."""
        return cancer_probability(self.probabilities, self.classes)

    @property
    def cancer(self) -> NDArray[np.bool_]:
        """Whether the true class is a cancerous one, (N,); only where a class is benign."""
        return is_cancer(self.labels, self.classes)

    @property
    def called_cancer(self) -> NDArray[np.bool_]:
        """Whether the most probable class is a cancerous one, (N,)."""
        return is_cancer(self.predicted, self.classes)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class, (N,); the first of them where two are equal."""
        best: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return best

    def write(self, path: Path) -> None:
        """Write the table as CSV, atomically and in full precision.

        Args:
            path: the file; columns `file, label, p_<Class> ..., p_cancer, prediction`, without
                `p_cancer` where no class is benign. Names that a spreadsheet would compute are
                written as `as_cell` says, and read back.
        """
        names = self.classes.names
        cancer = [[repr(p)] for p in self.p_cancer.tolist()] if self.classes.has_cancer else None
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(_columns(self.classes))
        for file, label, row, p_cancer, predicted in zip(
            self.files,
            self.labels.tolist(),
            self.probabilities.tolist(),
            cancer or [[]] * len(self.files),
            self.predicted.tolist(),
            strict=True,
        ):
            writer.writerow(
                [
                    *(as_cell(file), as_cell(names[label])),
                    *(*map(repr, row), *p_cancer, as_cell(names[predicted])),
                ]
            )
        write_text(path, buffer.getvalue())


def is_cancer(labels: NDArray[np.int64], classes: Classes) -> NDArray[np.bool_]:
    """Whether each of N labels is of a cancerous class, (N,).

    Raises:
        ValueError: no class is benign, so that none is cancer either.
    """
    _need_benign(classes)
    cancer: NDArray[np.bool_] = ~np.isin(labels, classes.benign_labels)
    return cancer


def _need_benign(classes: Classes) -> None:
    if not classes.has_cancer:
        raise ValueError(f"Expected a benign class among {list(classes.names)}, but there is none.")


def cancer_probability(probabilities: NDArray[np.float64], classes: Classes) -> NDArray[np.float64]:
    """Probability of any cancerous class, (N,), in [0, 1].

    Args:
        probabilities: (N, C), rows summing to 1.
        classes: names and order of the C classes.

    Raises:
        ValueError: no class is benign, so that none is cancer either.
    """
    _need_benign(classes)
    # The sum, and not 1 - p_benign, which rounds to 0 below 1e-16 and so makes ties.
    others = np.delete(probabilities, classes.benign_labels, axis=1)
    total: NDArray[np.float64] = np.minimum(others.sum(axis=1), 1.0)
    return total


def read_predictions(path: Path, classes: Classes) -> Predictions:
    """Read a table that `Predictions.write` wrote.

    `p_cancer` and `prediction` are computed from the probabilities again, never taken from the
    file.

    Args:
        path: the CSV file.
        classes: the classes that its columns and labels must name.

    Returns:
        The predictions, in the order of the file.

    Raises:
        UserError: the file cannot be read, lacks a column, names an unknown class, or holds a value
            that `Predictions` refuses.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # "sig": Excel leaves a mark
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"Expected predictions at {path}, but cannot read it: {error}") from error
    missing = [name for name in _columns(classes) if name not in columns]
    if missing:
        raise UserError(f"Expected {path} to have the columns {missing}, but it has {columns}.")
    unknown = [n for n in columns if n.startswith("p_") and n not in _columns(classes)]
    if unknown:
        raise UserError(
            f"Expected {path} to hold probabilities of {list(classes.names)} only, "
            f"but it has the columns {unknown}."
        )
    try:
        return Predictions(
            files=tuple(from_cell(row["file"] or "") for row in rows),
            labels=np.array([_label(row, classes) for row in rows], dtype=np.int64),
            probabilities=np.array([_probabilities(row, classes) for row in rows]),
            classes=classes,
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _columns(classes: Classes) -> list[str]:
    cancer = ["p_cancer"] if classes.has_cancer else []
    return ["file", "label", *(f"p_{name}" for name in classes.names), *cancer, "prediction"]


def _label(row: dict[str, str], classes: Classes) -> int:
    label = from_cell(row["label"] or "")
    if label not in classes.names:
        raise UserError(
            f"Expected the label of file '{row['file']}' to be one of {list(classes.names)}, "
            f"but got '{label}'."
        )
    return classes.names.index(label)


def _probabilities(row: dict[str, str], classes: Classes) -> list[float]:
    values = []
    for name in classes.names:
        text = row[f"p_{name}"]
        try:
            values.append(float(text))
        except (TypeError, ValueError) as error:  # None where the line is cut short
            raise UserError(
                f"Expected p_{name} of file '{row['file']}' to be a number, but got '{text}'."
            ) from error
    return values
