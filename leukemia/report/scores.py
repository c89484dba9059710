"""What a run says of images whose class nobody has told it: a table, lines, a print-out."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from leukemia.classes import Classes
from leukemia.errors import UserError
from leukemia.measure.predictions import cancer_probability
from leukemia.text import as_cell

if TYPE_CHECKING:
    import pandas

_MANY, _TOP = 10, 5  # of more classes the print-out has the most probable ones alone


@dataclass(frozen=True)
class Strange:
    """How far N images lie from those that a run knows, see `leukemia.measure.ood`.

    Args:
        scores: (N,), in [0, 2].
        flags: (N,); True for what is out of distribution.
    """

    scores: NDArray[np.float64]
    flags: NDArray[np.bool_]


@dataclass(frozen=True)
class Scores:
    """Calibrated probabilities of N images without labels, and what follows from them.

    Args:
        files: what each image is called.
        probabilities: (N, C), in [0, 1], each row summing to 1.
        certain: (N,); False where a human should look: `operating.uncertain`, and whatever is out
            of distribution.
        classes: names and order of the C classes.
        strange: of the N images; None for a run that cannot tell.
        doubts: of each image, see `Calibration.doubts`.

    Raises:
        UserError: a probability or a score is not finite; the first such file is named.
    """

    files: tuple[str, ...]
    probabilities: NDArray[np.float64]
    certain: NDArray[np.bool_]
    classes: Classes
    strange: Strange | None = None
    doubts: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would be taken for a class, or for known, without being a number."""
        strange = [] if self.strange is None else [self.strange.scores]
        bad = ~np.isfinite(np.column_stack([self.probabilities, *strange])).all(axis=1)
        if bad.any():
            raise UserError(
                f"The run answers {bad.sum()} of {len(self)} images with what is no finite number, "
                f"the first of them '{self.files[int(bad.argmax())]}': train the run anew."
            )

    @property
    def why(self) -> tuple[str, ...]:
        """Why each image is to be referred, "; " between reasons; empty where it is accepted."""
        doubts = self.doubts or ((),) * len(self)
        far = [False] * len(self) if self.strange is None else self.strange.flags.tolist()
        return tuple(
            "; ".join([*(["out of distribution"] if flag else []), *said])
            for said, flag in zip(doubts, far, strict=True)
        )

    def __len__(self) -> int:
        """The number of images."""
        return len(self.files)

    @property
    def p_cancer(self) -> NDArray[np.float64]:
        """Probability of any cancerous class, (N,), in [0, 1]; only where a class is benign."""
        return cancer_probability(self.probabilities, self.classes)

    @property
    def predicted(self) -> tuple[str, ...]:
        """The name of each image's most probable class; the first of them where two are equal."""
        return tuple(self.classes.names[row] for row in self.probabilities.argmax(axis=1))

    @property
    def cancers(self) -> tuple[str, ...]:
        """The names of the cancerous classes, in order; none where no class is benign."""
        return self.classes.cancers

    @property
    def given_cancer(self) -> NDArray[np.float64]:
        """Probability of each cancerous class if it is cancer, (N, number of `cancers`).

        Columns as in `cancers`, rows summing to 1; nan where P(cancer) is 0.
        """
        if not self.cancers:
            return np.empty((len(self), 0))
        among = np.delete(self.probabilities, self.classes.benign_labels, axis=1)
        total = among.sum(axis=1, keepdims=True)
        given: NDArray[np.float64] = np.full(among.shape, np.nan)
        np.divide(among, total, out=given, where=total > 0)
        return given

    @property
    def columns(self) -> list[str]:
        """The names of the values of a row."""
        return [
            "file",
            *(f"p_{name}" for name in self.classes.names),
            *(["p_cancer"] if self.classes.has_cancer else []),
            "prediction",
            "certain",
            *(f"p_{name}_if_cancer" for name in self.cancers),
            *(() if self.strange is None else ("ood_score", "ood")),
            "decision",
            "why",
        ]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield plain values by column; None for a probability that is undefined."""
        columns = self.columns
        strange: list[tuple[Any, ...]] = [()] * len(self)
        if self.strange is not None:
            pairs = (self.strange.scores.tolist(), self.strange.flags.tolist())
            strange = list(zip(*pairs, strict=True))
        for file, row, cancer, predicted, certain, given, far, why in zip(
            self.files,
            self.probabilities.tolist(),
            [[p] for p in self.p_cancer.tolist()] if self.classes.has_cancer else [[]] * len(self),
            self.predicted,
            self.certain.tolist(),
            self.given_cancer.tolist(),
            strange,
            self.why,
            strict=True,
        ):
            conditional = [None if np.isnan(value) else value for value in given]
            decision = "accept" if certain else "refer"
            values = [file, *row, *cancer, predicted, certain, *conditional, *far, decision, why]
            yield dict(zip(columns, values, strict=True))

    def to_pandas(self) -> "pandas.DataFrame":
        """Return the rows as a table of pandas.

        Raises:
            UserError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise UserError(
                "A table of pandas needs the package 'pandas': pip install pandas."
            ) from error
        return pandas.DataFrame(list(self.rows()), columns=self.columns)

    def to_csv(self) -> str:
        """Return the table as CSV, in full precision; certain and ood are yes or no.

        Names that a spreadsheet would compute are written as `as_cell` says.
        """
        out = io.StringIO()
        writer = csv.DictWriter(out, self.columns, lineterminator="\n")
        writer.writeheader()
        for row in self.rows():
            flags = [key for key in ("certain", "ood") if key in row]
            names = {key: as_cell(row[key]) for key in ("file", "prediction")}
            writer.writerow(row | names | {key: "yes" if row[key] else "no" for key in flags})
        return out.getvalue()

    def to_jsonl(self) -> str:
        """Return one JSON object a line; certain and ood are true or false."""
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows())

    def _refer(self, index: int) -> str:
        return "UNCERTAIN: a human should look" + (f" ({self.why[index]})" if self.doubts else "")

    def printout(self, index: int = 0) -> str:
        """Return what the paper prints of one image (figure 7), and each subtype if cancer.

        Of more than 10 classes the five most probable.
        """
        row, names = self.probabilities[index], self.classes.names
        shown = range(len(names)) if len(names) <= _MANY else np.argsort(-row, kind="stable")[:_TOP]
        outputs = "  ".join(f"{names[i]} {row[i]:.4f}" for i in shown)
        rest = "" if len(names) <= _MANY else f"  (the {_TOP} most probable of {len(names)})"
        lines = [
            f"Model output: {outputs}{rest}",
            *(
                [f"Probability of cancer: {self.p_cancer[index]:.4f}"]
                if self.classes.has_cancer
                else []
            ),
            f"Predicted {self.predicted[index]}, "
            + ("certain" if self.certain[index] else self._refer(index)),
        ]
        for i, (name, p) in enumerate(zip(self.cancers, self.given_cancer[index], strict=True)):
            if len(names) <= _MANY or i in np.argsort(-self.given_cancer[index])[:_TOP]:
                told = "undefined" if np.isnan(p) else f"{p:.4f}"
                lines.append(f"Probability of {name}, if cancer: {told}")
        if self.strange is not None and self.strange.flags[index]:
            lines.append("OUT OF DISTRIBUTION: unlike what the run knows, so not to be trusted")
        return "\n".join(lines)


def is_scores(path: Path) -> bool:
    """Whether a file begins as one that `Scores.to_csv` or `Scores.to_jsonl` made."""
    try:
        with path.open(encoding="utf-8") as file:
            line = file.readline(10_000)
        keys = list(json.loads(line)) if line.startswith("{") else line.strip().split(",")
    except (OSError, ValueError):
        return False
    return {"file", "prediction", "certain"} <= set(keys)
