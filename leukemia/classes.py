"""The classes of a dataset, their order, and which of them are benign."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from leukemia.errors import UserError

CANCER_FIGURES: Final = ("cancer_recall", "cancer_specificity", "roc_auc", "average_precision")
"""Figures that only classes with a benign one among them have."""


@dataclass(frozen=True)
class Classes:
    """Class names in the order of every logit, column and confusion matrix.

    Args:
        names: folder names of the classes, in order; label i is ``names[i]``.
        benign: the classes that are not cancer: one name, several, or none (``None``). With none
            the classes are of a plain classifier, and no figure speaks of cancer. One name in a
            list is kept as that name, and an empty list as ``None``.

    Raises:
        UserError: fewer than two classes, a name twice or one that cannot be printed, a benign
            one that is not among them, or no class that is not benign.
    """

    names: tuple[str, ...] = ("Benign", "Early", "Pre", "Pro")
    benign: str | tuple[str, ...] | None = "Benign"

    def __post_init__(self) -> None:
        """Refuse a scheme that could not be learnt."""
        if len(self.names) < 2 or len(set(self.names)) != len(self.names):
            raise UserError(
                f"Expected data.classes.names to be two or more different names, "
                f"but got {list(self.names)}."
            )
        if not all(name and name.isprintable() for name in self.names):
            raise UserError(
                f"Expected data.classes.names to be names that can be printed, "
                f"but got {list(self.names)}."
            )
        benign = (self.benign,) if isinstance(self.benign, str) else tuple(self.benign or ())
        if unknown := [name for name in benign if name not in self.names]:
            raise UserError(
                f"Expected data.classes.benign to be one of {list(self.names)}, several of them, "
                f"or null for none, but got '{unknown[0]}'."
            )
        if len(set(benign)) == len(self.names):
            raise UserError(
                f"Expected data.classes.benign to leave a class that is not benign, but got all "
                f"of {list(self.names)}: use data.classes.benign=null for a plain classifier."
            )
        if benign and "cancer" in self.names and len(set(benign)) < len(self.names) - 1:
            raise UserError(
                f"A class called 'cancer' among several that are not benign, {list(self.names)}, "
                f"would be taken for all of them together: rename its folder."
            )
        # In the order of the names, so that two schemes that say the same are equal.
        ordered = tuple(name for name in self.names if name in benign)
        kept = ordered[0] if len(ordered) == 1 else ordered or None
        object.__setattr__(self, "benign", kept)

    @property
    def benigns(self) -> tuple[str, ...]:
        """The names of the benign classes, in order; none where no class is set as benign."""
        return (self.benign,) if isinstance(self.benign, str) else self.benign or ()

    @property
    def benign_labels(self) -> tuple[int, ...]:
        """The labels of the benign classes."""
        return tuple(map(self.names.index, self.benigns))

    @property
    def benign_words(self) -> str:
        """The benign classes as a sentence names them, such as ``A`` or ``A and B``."""
        return " and ".join(self.benigns)

    @property
    def cancers(self) -> tuple[str, ...]:
        """The names of the cancerous classes, in order; none where no class is set as benign."""
        return tuple(n for n in self.names if n not in self.benigns) if self.has_cancer else ()

    @property
    def has_cancer(self) -> bool:
        """Whether the classes tell cancer from benign: whether one is set as benign."""
        return self.benign is not None

    def __len__(self) -> int:
        """The number of classes."""
        return len(self.names)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, which `from_dict` reads."""
        return {"names": list(self.names), "benign": self.benign}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Classes":
        """The classes that `to_dict` gave.

        Raises:
            KeyError, TypeError: it did not.
            UserError: as for the classes themselves.
        """
        benign = values["benign"]
        if not isinstance(benign, str | None):
            benign = tuple(benign)
        return cls(tuple(values["names"]), benign)


def without_cancer(names: Iterable[str], classes: Classes) -> list[str]:
    """Return names of figures, less `CANCER_FIGURES` where no class is benign."""
    return [name for name in names if classes.has_cancer or name not in CANCER_FIGURES]
