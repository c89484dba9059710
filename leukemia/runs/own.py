"""The settings that a run wrote itself: with others it does not go on."""

import hashlib
from pathlib import Path

from leukemia.atomic import write_text
from leukemia.errors import UserError

NOTES = "settings.sha256"  # beside config.yaml: one line for each that the run has had


def note_own(config: Path, text: str) -> None:
    """Note a run's settings before they are written, so that a kill leaves none that are unknown.

    Args:
        config: the run's config.yaml.
        text: what it is to hold.
    """
    notes = config.with_name(NOTES)
    before = notes.read_text(encoding="utf-8") if notes.is_file() else ""
    digest = hashlib.sha256(text.encode()).hexdigest()
    if digest not in before.split():
        write_text(notes, f"{before}{digest}\n")


def write_own(config: Path, text: str) -> None:
    """Replace a run's settings by others of its own."""
    note_own(config, text)
    write_text(config, text)


def check_own(config: Path) -> None:
    """Refuse settings that an unfinished run did not write; of a finished one `DONE` knows them.

    Args:
        config: the run's config.yaml; without notes beside it nothing is known.

    Raises:
        UserError: they have changed since the run began.
    """
    notes = config.with_name(NOTES)
    if not notes.is_file():
        return
    digest = hashlib.sha256(config.read_bytes()).hexdigest()
    if digest not in notes.read_text(encoding="utf-8", errors="replace").split():
        raise UserError(
            f"'{config}' has changed since the run began, whose figures would be of two settings: "
            f"bring it back from a copy, or start a new run."
        )
