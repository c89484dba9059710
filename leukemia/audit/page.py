"""`audit.html`: what an audit found, on one page that needs nothing but itself."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from leukemia.audit.findings import Audit
from leukemia.audit.floors import Floor, by_feature
from leukemia.disk import write_bytes, write_text
from leukemia.measure.intervals import shown
from leukemia.report.figures import BLUE, GREEN, GREY, ORANGE, STYLE, class_colours, save
from leukemia.report.page import image, page, photograph, table

_MARKS = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (GREY, "D"))
TILE = 112  # side of a picture in a montage, in pixels


@mpl.rc_context(STYLE)
def floors_figure(audit: Audit) -> Figure:
    """Accuracy of each kind of features under each split, with its interval and chance."""
    features = by_feature(audit.floors)
    protocols = list(dict.fromkeys(floor.protocol for floor in audit.floors))
    figure = Figure(figsize=(9, 1.3 + 0.55 * len(features)), layout="constrained")
    axes = figure.subplots()
    for k, protocol in enumerate(protocols):
        colour, marker = _MARKS[k % len(_MARKS)]
        mine = [
            (row, floor)
            for row, floors in enumerate(features.values())
            for floor in floors
            if floor.protocol == protocol
        ]
        places = [row + 0.16 * (k - (len(protocols) - 1) / 2) for row, _ in mine]
        values = [floor.accuracy for _, floor in mine]
        axes.plot(values, places, marker, color=colour, ms=6, label=f"split={protocol}")
        for place, (_, floor) in zip(places, mine, strict=True):
            if floor.interval:
                axes.hlines(place, *floor.interval, color=colour, lw=1.5)
    largest = np.bincount(audit.labels).max() / len(audit.labels)
    axes.axvline(largest, color=GREY, ls="--", lw=1, label="largest class")
    axes.set_yticks(range(len(features)), list(features))
    axes.set(xlim=(0, 1), xlabel="accuracy")
    axes.invert_yaxis()
    axes.grid(axis="x")
    figure.legend(loc="outside upper center", ncols=len(protocols) + 1)
    return figure


@mpl.rc_context(STYLE)
def groups_figure(audit: Audit) -> Figure:
    """Images of each acquisition group, by class."""
    table = audit.group_table()
    columns = min(len(audit.classes), 7)  # of the legend
    height = 1.0 + 0.2 * -(-len(audit.classes) // columns) + 0.24 * len(table)
    figure = Figure(figsize=(9, height), layout="constrained")
    axes, colours = figure.subplots(), class_colours(len(audit.classes))
    rows, start = np.arange(len(table)), np.zeros(len(table))
    hatches = ("", "//", "..", "xx", "\\\\", "++", "oo")
    for label, name in enumerate(audit.classes.names):
        axes.barh(
            rows, table[:, label], 0.8, left=start, label=name, edgecolor="w",
            color=colours[label], hatch=hatches[label % 7],
        )  # fmt: skip
        start += table[:, label]
    axes.set_yticks(rows, [str(row + 1) for row in rows])
    axes.set(xlabel="images", ylabel="acquisition group")
    axes.invert_yaxis()
    axes.grid(axis="x")
    figure.legend(loc="outside upper center", ncols=columns)
    return figure


@mpl.rc_context(STYLE)
def health_figure(audit: Audit) -> Figure:
    """The spread of each measure of health, by class."""
    names = audit.classes.names
    figure = Figure(figsize=(9, 0.9 + 0.4 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(audit.measured), sharey=True, squeeze=False)[0]
    for axes, (name, values) in zip(panels, audit.measured.items(), strict=True):
        axes.boxplot(
            [values[audit.labels == label] for label in range(len(names))],
            orientation="horizontal", widths=0.6, tick_labels=names,
            flierprops={"marker": ".", "ms": 3, "alpha": 0.4}, medianprops={"color": ORANGE},
        )  # fmt: skip
        axes.set_title(name)
        axes.grid(axis="x")
    panels[0].invert_yaxis()
    return figure


def montage(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Put pictures side by side on white, each squashed to one square.

    Args:
        pictures: RGB, (H, W, 3), one or more.

    Returns:
        (112, 112 n, 3).
    """
    wide: NDArray[np.uint8] = np.full((TILE, TILE * len(pictures), 3), 255, np.uint8)
    side = TILE - 2
    for k, picture in enumerate(pictures):
        tile = np.array(Image.fromarray(picture).resize((side, side)))
        wide[:side, k * TILE : k * TILE + side] = tile
    return wide


_MEMBERS = 8  # pictures of a group
_MONTAGES = 40  # groups that are shown
_PAIRS = 12  # duplicates that are shown; of label errors six times as many
_UNFIT = 8  # images shown of each fault
_ROWS = 200  # of a table

Read = Callable[[int], NDArray[np.uint8]]
"""From a row to its picture, RGB (H, W, 3)."""


def write_audit(folder: Path, audit: Audit, read: Read) -> None:
    """Write audit.html and figures/*.png, each atomically.

    Args:
        folder: where to; made where it is missing.
        audit: what was found.
        read: is asked for the few pictures that are shown.
    """
    sections = [
        *_opening(audit),
        *_floors(audit, folder),
        *_duplicates(audit, read),
        *_groups(audit, read, folder),
        *_health(audit, read, folder),
        *_data(audit),
    ]
    write_text(folder / "audit.html", page(f"Audit of {audit.name}", sections))


def _opening(audit: Audit) -> Iterator[str]:
    yield (
        '<p class="warning"><strong>What could make figures on these images untrue.</strong> '
        "This page holds pictures of the dataset: mind its licence before passing it on.</p>"
    )
    yield f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in audit.findings())}</ul>"
    if audit.notes:
        yield f'<p class="small">{"<br>".join(map(escape, audit.notes))}</p>'


def _floors(audit: Audit, folder: Path) -> Iterator[str]:
    if not audit.floors:
        return
    protocols = list(dict.fromkeys(floor.protocol for floor in audit.floors))
    sizes = {floor.protocol: floor.n for floor in audit.floors}
    header = ["features", *(f"{name} (n = {sizes[name]})" for name in protocols)]
    yield "<h2>Shortcut floors</h2>"
    yield (
        "<p>What a support vector machine with Gaussian kernel scores from features in which no "
        "cell has a shape. An accuracy counts only by how far it lies above these; where they lie "
        "far above chance, the way the images were made tells the class.</p>"
    )
    cells: dict[str, Callable[[Floor], str]] = {
        "Accuracy with 95% interval, the strongest shortcut first": lambda floor: shown(
            floor.accuracy, floor.interval
        ),
        "Cancer sensitivity with 95% interval": lambda floor: shown(
            floor.cancer_recall, floor.cancer_recall_interval
        ),
        "The class told best from all others, with its balanced accuracy (chance: 0.5)": lambda f: (
            f"{f.given_away} {f.balanced:.3f}"
        ),
    }
    if not audit.classes.has_cancer:
        del cells["Cancer sensitivity with 95% interval"]
    for caption, cell in cells.items():
        rows = []
        for name, floors in by_feature(audit.floors).items():
            said = {floor.protocol: cell(floor) for floor in floors}
            rows.append([name, *(said.get(protocol, "") for protocol in protocols)])
        if caption.startswith("Accuracy"):
            chance = {floor.protocol: shown(floor.chance) for floor in audit.floors}
            rows.append(["always the largest class", *(chance[name] for name in protocols)])
        yield table(caption, header, rows)
    figure = floors_figure(audit)
    save(figure, folder / "figures" / "floors.png")
    caption = (
        "Accuracy from features without shape, by split; the line is the largest class of all."
    )
    yield image(figure, f"{caption} The table above has the values.", caption)
    whole = "the groups of data.groups" if audit.own_groups else "the acquisition groups below"
    yield (
        '<p class="small">Mean colour and histograms (32 bins of L, a, b) leave the corner out; '
        "background is the glass alone; the corner is the lower 15% by the right 24%; file is "
        "size in bytes, width, height and JPEG tables. Settings are fixed, not tuned. "
        f"stratified draws at random; grouped and kfold keep {whole} whole, and kfold scores "
        "every fold once. Intervals are over groups where images belong together.</p>"
    )


def _duplicates(audit: Audit, read: Read) -> Iterator[str]:
    yield "<h2>Duplicates</h2>"
    pairs = audit.ordered_pairs()
    if not pairs:
        yield "<p>No two images show one field.</p>"
        return
    n_wrong = sum(map(audit.crosses, pairs))
    yield (
        f"<p>{len(pairs)} pairs show one field, {n_wrong} of them across classes. Across classes "
        "they are label errors; within one they must not lie on both sides of a split.</p>"
    )
    # Identical files teach the eye nothing.
    others = sorted(pairs[n_wrong:], key=lambda pair: (pair["kind"] == "identical", pair["first"]))
    chosen = [*pairs[: min(n_wrong, 6 * _PAIRS)], *others[:_PAIRS]]
    yield f'<div class="cases">{"".join(_pair(audit, pair, read) for pair in chosen)}</div>'
    rows = [
        [
            audit.files[pair["first"]],
            audit.files[pair["second"]],
            "label error" if audit.crosses(pair) else pair["kind"],
            pair["transform"],
            f"{pair['correlation']:.3f}",
            f"{pair['shift']:.2f}",
        ]
        for pair in pairs[:_ROWS]
    ]
    header = ["first", "second", "kind", "turned", "correlation", "shift (of the side)"]
    yield table(f"Pairs, {len(rows)} of {len(pairs)}; audit.json has all", header, rows)


def _pair(audit: Audit, pair: Mapping[str, Any], read: Read) -> str:
    views = "".join(_picture(audit, pair[end], read) for end in ("first", "second"))
    said = pair["kind"] if pair["transform"] == "none" else f"{pair['kind']}, {pair['transform']}"
    told = f"{said}, correlation {pair['correlation']:.3f}"
    if audit.crosses(pair):
        told = f"LABEL ERROR: {told}"
    return (
        f'<figure><div class="views">{views}</div><figcaption>{escape(told)}</figcaption></figure>'
    )


def _picture(audit: Audit, row: int, read: Read) -> str:
    file = audit.files[row]
    return f"<span>{photograph(read(row), file, side=160)}{escape(file)}</span>"


def _groups(audit: Audit, read: Read, folder: Path) -> Iterator[str]:
    counts = audit.group_table()
    yield "<h2>Acquisition groups</h2>"
    yield (
        "<p>Images that share stain, white balance, grain and style of the scale bar, found by "
        "clustering; labels are not looked at. They are no patients: a group may hold several, "
        "and one patient may lie in several groups. Where patients are known, their table belongs "
        "into data.groups instead. groups.csv is made for "
        "<code>split=grouped data.groups=groups.csv</code>.</p>"
    )
    figure = groups_figure(audit)
    save(figure, folder / "figures" / "groups.png")
    caption = "Images of each acquisition group, by class."
    yield image(figure, f"{caption} The table below has the values.", caption)
    yield table(
        "Groups by size",
        ["group", "images", *audit.classes.names, "scale bars"],
        [
            [str(group + 1), str(row.sum()), *map(str, row.tolist()), audit.bars_of(group)]
            for group, row in enumerate(counts[:_ROWS])
        ],
    )
    for group in range(min(len(counts), _MONTAGES)):
        rows = np.flatnonzero(audit.groups == group)
        chosen = rows[np.linspace(0, len(rows) - 1, min(_MEMBERS, len(rows))).astype(int)]
        pictures = montage([read(int(row)) for row in chosen])
        buffer = io.BytesIO()
        Image.fromarray(pictures).save(buffer, "PNG")
        write_bytes(folder / "figures" / f"group_{group + 1:02d}.png", buffer.getvalue())
        names = ", ".join(audit.files[row] for row in chosen)
        told = f"Group {group + 1}, {len(rows)} images"
        yield (
            f"<figure>{photograph(pictures, f'{told}: {names}', side=_MEMBERS * TILE)}"
            f"<figcaption>{escape(told)}</figcaption></figure>"
        )


def _health(audit: Audit, read: Read, folder: Path) -> Iterator[str]:
    yield "<h2>Image health</h2>"
    figure = health_figure(audit)
    save(figure, folder / "figures" / "health.png")
    caption = (
        "By class: sharpness (variance of the Laplacian), share of pixels clipped at black and at "
        "white, nuclei found (touching ones as one)."
    )
    yield image(figure, f"{caption} audit.json has the values.", caption)
    styles = sorted(set(audit.bars))
    yield table(
        "Scale bars by class",
        ["class", *styles],
        [
            [name, *(str(_count(audit, label, style)) for style in styles)]
            for label, name in enumerate(audit.classes.names)
        ],
    )
    for what, rows in audit.unfit.items():
        if not rows:
            continue
        yield f"<h3>{escape(what.capitalize())}: {len(rows)}</h3>"
        cases = "".join(_picture(audit, row, read) for row in rows[:_UNFIT])
        yield f'<div class="views" style="flex-wrap: wrap">{cases}</div>'
        rest = len(rows) - _UNFIT
        if rest > 0:
            yield f'<p class="small">and {rest} more, in audit.json.</p>'


def _count(audit: Audit, label: int, style: str) -> int:
    return sum(
        bar == style and of == label
        for bar, of in zip(audit.bars, audit.labels.tolist(), strict=True)
    )


def _data(audit: Audit) -> Iterator[str]:
    yield "<h2>Data</h2>"
    counts = np.bincount(audit.labels, minlength=len(audit.classes)).tolist()
    yield table("Images", ["", *audit.classes.names], [["images", *map(str, counts)]])
    if audit.skipped:
        yield table("Files left out", ["file", "reason"], [list(row) for row in audit.skipped])
    settings = f"fingerprint={audit.fingerprint}\n{_plain(audit.settings)}"
    yield f"<pre>{escape(settings)}</pre>"


def _plain(settings: Mapping[str, Any], prefix: str = "") -> str:
    lines: Sequence[str] = [
        _plain(value, f"{prefix}{key}.") if isinstance(value, Mapping) else f"{prefix}{key}={value}"
        for key, value in settings.items()
    ]
    return "\n".join(lines)
