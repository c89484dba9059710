"""The classes of a dataset, their order, and which one is benign."""

from dataclasses import dataclass

from leukemia.errors import UserError


@dataclass(frozen=True)
class Classes:
    """Class names in the order of every logit, column and confusion matrix.

    Args:
        names: folder names of the classes, in order; label i is ``names[i]``.
        benign: the one class that is not cancer.

    Raises:
        UserError: fewer than two classes, a name twice or one that cannot be printed, or
            ``benign`` not among them.
    """

    names: tuple[str, ...] = ("Benign", "Early", "Pre", "Pro")
    benign: str = "Benign"

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
        if self.benign not in self.names:
            raise UserError(
                f"Expected data.classes.benign to be one of {list(self.names)}, "
                f"but got '{self.benign}'."
            )

    @property
    def benign_index(self) -> int:
        """The label of the benign class."""
        return self.names.index(self.benign)

    def __len__(self) -> int:
        """The number of classes."""
        return len(self.names)
