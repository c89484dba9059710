"""Find the images of a dataset: one folder a class, or files whose names tell class and patient."""

import difflib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from leukemia.classes import Classes
from leukemia.data.files.images import SUFFIXES, name_some
from leukemia.errors import UserError

_NOTES: Final = {".txt", ".csv", ".md", ".json"}
_ALIKE: Final = (
    0.75  # how alike a folder's name and a class must be for one to be the other misspelt
)
_GROUPS: Final = ("patient", "group")  # of a pattern: what keeps images together


@dataclass(frozen=True)
class ImageFile:
    """A file that should be an image.

    Args:
        path: relative to the dataset's folder, with forward slashes.
        label: index of its class.
        related: the patient that its name tells; empty where names tell none.
    """

    path: str
    label: int
    related: str = ""


@dataclass(frozen=True)
class Layout:
    r"""How a dataset's files tell their classes: by folders of their own, or by a pattern.

    Args:
        pattern: a regular expression that the path of every image matches as a whole, relative to
            the dataset's folder and with forward slashes, such as
            ``.*/UID_(?P<patient>H?\d+)_.*_(?P<label>all|hem)\.bmp``. Its group ``label`` is the
            class. Its group ``patient`` (or ``group``, where that is no patient) tells which
            images belong together; it may be absent. ``None`` for one subfolder a class.
        labels: pairs of what the group ``label`` may say and the class that is meant; anything
            else is a class by itself.
        extensions: the suffixes that images have, such as ``.bmp``; files that are no images by
            theirs are passed over, and other images refused. Empty: every file is an image.

    Raises:
        UserError: no regular expression, one without the group ``label``, or a suffix without
            its dot.
    """

    pattern: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could tell no class."""
        if wrong := [text for text in self.extensions if not re.fullmatch(r"\.\w+", text)]:
            raise UserError(
                f"Expected each of data.extensions to be a suffix such as .jpg, but got "
                f"'{wrong[0]}'."
            )
        try:
            known = self._compiled.groupindex if self.pattern is not None else {"label": 0}
        except re.error as error:
            raise UserError(
                f"Expected data.pattern to be a regular expression, but got '{self.pattern}': "
                f"{error}."
            ) from error
        if "label" not in known:
            raise UserError(
                f"Expected data.pattern to have a group (?P<label>...), which tells the class of a "
                f"file, but got '{self.pattern}'."
            )

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern or "")

    @property
    def relates(self) -> str | None:
        """What a file's name tells beside its class: ``patient``, ``group``, or None."""
        known = {} if self.pattern is None else self._compiled.groupindex
        return next((name for name in _GROUPS if name in known), None)

    def read(self, path: str) -> tuple[str, str] | None:
        """Return the class and the patient (empty for none) of a file; None where none is told."""
        found = self._compiled.fullmatch(path)
        if found is None or not found["label"]:
            return None
        return dict(self.labels).get(found["label"], found["label"]), self._related(found)

    def _related(self, found: re.Match[str]) -> str:
        return str((self.relates and found[self.relates]) or "")

    def takes(self, path: Path) -> bool:
        """Whether a file should be an image, and is none of those that are passed over."""
        return self.has_suffix(path.name) or path.suffix.lower() in SUFFIXES

    def has_suffix(self, path: str) -> bool:
        """Whether a file has one of the suffixes that images have here."""
        return not self.extensions or Path(path).suffix.lower() in self.extensions


FOLDERS: Final = Layout()
"""One subfolder a class, every file in it an image."""


def list_images(
    root: Path, classes: Classes, layout: Layout = FOLDERS, *, fixed: bool = False
) -> list[ImageFile]:
    """List the files of a folder whose subfolders are the classes, or whose names tell them.

    Hidden entries are passed over, and so are notes (.txt, .csv, .md, .json) beside the class
    folders. Everything else in a class folder counts as an image, whatever its name.

    Args:
        root: the dataset's folder.
        classes: names and order of the class folders.
        layout: how the files tell their classes.
        fixed: the classes are those of a finished run: no setting can change them, and where a
            pattern tells the classes some may have no image.

    Returns:
        The files, sorted by label and path.

    Raises:
        UserError: the folder cannot be read, or is not what the layout says; all that is wrong is
            named at once.
    """
    try:
        _check_there(
            root, f"set data.root to a folder with one subfolder a class {list(classes.names)}"
        )
        if layout.pattern is not None:
            return _by_pattern(root, classes, layout, fixed=fixed)
        return _by_folder(root, classes, layout, fixed=fixed)
    except OSError as error:
        raise UserError(f"data.root '{root}' cannot be read: {error}.") from error


def find_names(root: Path, layout: Layout = FOLDERS) -> tuple[str, ...]:
    """Return the classes that a folder holds: its subfolders, or what its pattern tells; sorted.

    Raises:
        UserError: it cannot be read, or holds fewer than two classes.
    """
    try:
        _check_there(root, "set data.root to a folder with one subfolder a class")
        if layout.pattern is not None:
            told = (layout.read(path) for path in _walk(root, layout))
            names = sorted({name for name, _ in filter(None, told)})
            if len(names) < 2:
                raise UserError(
                    f"data.pattern '{layout.pattern}' tells {len(names)} classes in data.root "
                    f"'{root}', not two or more: it must match paths as they are below that "
                    f"folder, such as {name_some(list(_walk(root, layout)), 2) or 'none'}."
                )
            return tuple(names)
        folders = [entry for entry in _visible(root) if entry.is_dir()]
        deep = [folder for folder in folders if _holds_folders_alone(folder)]
    except OSError as error:
        raise UserError(f"data.root '{root}' cannot be read: {error}.") from error
    if deep:
        raise UserError(
            f"data.root '{root}' seems to hold the class folders one level down, in "
            f"{name_some([folder.name for folder in deep], 8)}: use one of them, such as "
            f"data.root={deep[0]}."
        )
    if len(folders) < 2:
        raise UserError(
            f"Expected data.root '{root}' to hold one subfolder for each of two or more classes, "
            f"but it has {name_some([f.name for f in folders]) or 'none'}: name the folder that "
            f"does, or set data.pattern where the names of files tell their classes."
        )
    return tuple(folder.name for folder in folders)


def layout_here(root: Path, classes: Classes, layout: Layout) -> Layout | None:
    """Return how another folder tells the classes of a run: as its own did, or by subfolders.

    Args:
        root: the folder; it is there.
        classes: of the run.
        layout: of the run's own images.

    Returns:
        The layout; None where the folder tells none of the classes.
    """
    if layout.pattern is not None:
        told = (layout.read(path) for path in _walk(root, layout))
        if any(found and found[0] in classes.names for found in told):
            return layout
    if any((root / name).is_dir() for name in (*classes.names, "Original")):
        return FOLDERS if layout.pattern is not None else layout
    return None


def _check_there(root: Path, remedy: str) -> None:
    if not root.is_dir():
        wrong = "is no folder" if root.exists() else "does not exist"
        raise UserError(f"data.root '{root}' {wrong}: {remedy}.")


def _by_folder(root: Path, classes: Classes, layout: Layout, *, fixed: bool) -> list[ImageFile]:
    beside = _visible(root)
    folders = {entry.name for entry in beside if entry.is_dir()}
    # Compared by listed name: on some systems (root / "early").is_dir() finds "Early" too.
    inside = {name: _visible(root / name) for name in classes.names if name in folders}
    kept = {
        name: [f for f in files if f.is_dir() or layout.takes(f)] for name, files in inside.items()
    }
    if not inside and "Original" in folders:
        raise UserError(
            f"data.root '{root}' holds the whole download, with the class folders one level "
            f"down: use data.root={root / 'Original'}."
        )
    known = {name.casefold() for name in classes.names}
    if folders and not fixed and not {name.strip().casefold() for name in folders} & known:
        raise _foreign(root, sorted(folders), classes)
    problems = (
        _wrong_folders(folders, classes)
        + [f"class folder '{name}' is empty" for name, files in kept.items() if not files]
        + [
            f"'{name}/{entry.name}' is a folder inside a class folder"
            for name, files in kept.items()
            for entry in files
            if entry.is_dir()
        ]
        + [
            f"'{name}/{entry.name}' is none of data.extensions {list(layout.extensions)}"
            for name, files in kept.items()
            for entry in files
            if not entry.is_dir() and not layout.has_suffix(entry.name)
        ]
        + [
            f"file '{entry.name}' lies beside the class folders"
            for entry in beside
            if not entry.is_dir() and entry.suffix.lower() not in _NOTES
        ]
    )
    if problems:
        remedy = f", or take the folders that are there as the classes with {_names(folders)}"
        if not folders:
            remedy = ", or set data.pattern (data=folder) where names of files tell the classes"
        remedy = "" if fixed else remedy
        raise UserError(
            f"data.root '{root}' is not one folder of images for each class of "
            f"{list(classes.names)}: {name_some(problems)}. Rename or move what is named here"
            f"{remedy}."
        )
    return [
        ImageFile(f"{name}/{entry.name}", label)
        for label, name in enumerate(classes.names)
        for entry in kept[name]
    ]


def _foreign(root: Path, folders: Sequence[str], classes: Classes) -> UserError:
    """What to set for a folder of other classes: none of the set ones is there."""
    there = name_some([f"'{name}'" for name in folders], 8)
    if len(folders) < 2:
        remedy = (
            "name a folder with one subfolder a class, or set data.pattern (with data=folder) "
            "where the names of files tell their classes"
        )
    else:
        remedy = (
            f"for the classes that are there use data=folder, which takes them from the folders, "
            f"or set {_names(folders)}; data.classes.benign names those that are not cancer, or "
            f"is null"
        )
    return UserError(
        f"data.root '{root}' has none of the classes {list(classes.names)} that are set, but "
        f"{there}: {remedy}."
    )


def _names(folders: Sequence[str] | set[str]) -> str:
    """The setting that takes these folders as the classes, as it is typed in a shell."""
    names = sorted(folders)
    if len(names) > 12 or not all(re.fullmatch(r"[\w-]+", name) for name in names):
        return "data.classes.names=null"
    return f"'data.classes.names=[{','.join(names)}]'"


def _by_pattern(root: Path, classes: Classes, layout: Layout, *, fixed: bool) -> list[ImageFile]:
    found, problems, unmatched, others_of = [], [], [], []
    others: Counter[str] = Counter()
    for path in _walk(root, layout):
        told = layout.read(path)
        if not layout.has_suffix(path):
            others_of.append(f"'{path}'")
        elif told is None:
            unmatched.append(f"'{path}'")
        elif told[0] not in classes.names:
            others[told[0]] += 1
        else:
            found.append(ImageFile(path, classes.names.index(told[0]), told[1]))
    present = {image.label for image in found}
    if not fixed or not found:
        missing = [name for label, name in enumerate(classes.names) if label not in present]
        problems += [f"class '{name}' has no file" for name in missing]
    problems += [
        f"{count} files are of '{name}', which is no class" for name, count in others.items()
    ]
    for files, wrong in (
        (others_of, f"are images, but none of data.extensions {list(layout.extensions)}"),
        (unmatched, "do not match the pattern"),
    ):
        if files:
            problems.append(f"{len(files)} files {wrong}, such as {name_some(files, 3)}")
    if problems:
        remedy = "" if fixed else ", or set data.pattern, data.labels or data.classes.names anew"
        raise UserError(
            f"The files of data.root '{root}' do not tell the classes {list(classes.names)} by "
            f"data.pattern '{layout.pattern}': {name_some(problems)}. Rename or move what is named "
            f"here{remedy}."
        )
    return sorted(found, key=lambda image: (image.label, image.path))


def _walk(root: Path, layout: Layout) -> Iterator[str]:
    """Yield the paths below a folder that should be images, relative to it; each folder once."""
    seen: set[tuple[int, int]] = set()
    for where, folders, _ in os.walk(root, followlinks=True):
        stat = Path(where).stat()
        if (stat.st_dev, stat.st_ino) in seen:  # a link that leads in a circle
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        entries = _visible(Path(where))
        folders[:] = [entry.name for entry in entries if entry.is_dir()]
        for entry in entries:
            if not entry.is_dir() and entry.suffix.lower() not in _NOTES and layout.takes(entry):
                yield entry.relative_to(root).as_posix()


def _holds_folders_alone(folder: Path) -> bool:
    inside = _visible(folder)
    return bool(inside) and all(entry.is_dir() for entry in inside)


def _visible(folder: Path) -> list[Path]:
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    for entry in entries:
        if not _is_text(entry.name):
            raise UserError(f"The name {entry.name!a} in '{folder}' is not valid UTF-8: rename it.")
    return sorted(entries, key=lambda entry: entry.name)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _wrong_folders(folders: set[str], classes: Classes) -> list[str]:
    missing = [name for name in classes.names if name not in folders]
    extra = sorted(folders - set(classes.names))
    problems = []
    # Equal but for case first, so that 'pro' is never taken for a misspelt 'Pre'.
    for cutoff in (1.0, _ALIKE):
        for name in list(missing):
            spelt = {folder.strip().casefold(): folder for folder in extra}
            close = difflib.get_close_matches(name.casefold(), spelt, n=1, cutoff=cutoff)
            if close:
                folder = spelt[close[0]]
                problems.append(f"folder '{folder}' should be called '{name}'")
                missing.remove(name)
                extra.remove(folder)
    problems += [f"class folder '{name}' is missing" for name in missing]
    return problems + [f"folder '{name}' is no class" for name in extra]
