"""Where a network looks, in numbers: how much of a heat map lies on what."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from leukemia.report.figures import ORANGE, STYLE, by_class, class_boxes, class_width, turn_labels
from leukemia.text import as_cell

PARTITION = ("nuclei", "background", "corner")
"""Regions that do not overlap and together are the image."""

REGIONS = (*PARTITION, "kept")
"""And what the run's mask keeps, which overlaps with the others."""

METHODS = {"grad_cam": ("Grad-CAM", "without unit"), "occlusion": ("Occlusion", "fall of log-odds")}
"""How to make a map: its title, and the unit of its values."""

_CORNER = (190 / 224, 170 / 224)  # first row and column, where Aria et al. have the scale bar
_FEW = 5  # images, below which a median says too little to warn
_PLACES = {"nuclei": "nuclei hold", "corner": "the scale bar's corner holds"}
Shares = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Look:
    """How the heat maps of one image are divided among regions.

    Args:
        shares: by method and region, in [0, 1], see `share_of`.
        area: by region, the share of the image that it covers.
    """

    shares: Mapping[str, Mapping[str, float]]
    area: Mapping[str, float]


@dataclass(frozen=True)
class Attention:
    """The looks of N images.

    Args:
        shares: by method and region, (N,), in [0, 1]; those of `PARTITION` sum to 1. Nan where
            an image could not be used, or its map has no positive mass.
        area: by region, the share of the image that it covers, (N,), in [0, 1]; nan where an
            image could not be used.
    """

    shares: Mapping[str, Shares]
    area: Shares

    def warnings(self, labels: NDArray[np.int64], names: Sequence[str]) -> list[str]:
        """One sentence for each method and class whose maps lie off the cells.

        That is where, in the class's median, the nuclei hold a smaller share of the map than of
        the area, so less than a map that is the same everywhere would give them; or the corner
        of the scale bar more than twice its share of the area. By class, because classes differ
        in how much of an image their nuclei cover; those of few images are passed over.

        Args:
            labels: the class of each image, true or predicted, (N,), in 0 to C - 1.
            names: of the C classes.
        """
        found = []
        for method, shares in self.shares.items():
            for label, name in enumerate(names):
                rows = (labels == label) & ~np.isnan(shares["nuclei"])
                if rows.sum() < _FEW:
                    continue
                share = {region: np.median(shares[region][rows]) for region in PARTITION}
                area = {region: np.median(self.area[region][rows]) for region in PARTITION}
                off = [
                    region
                    for region, wrong in (
                        ("nuclei", share["nuclei"] < area["nuclei"]),
                        ("corner", share["corner"] > 2 * area["corner"]),
                    )
                    if wrong
                ]
                found += [
                    f"{METHODS[method][0]}, {name}: {_PLACES[region]} {share[region]:.1%} of the "
                    f"map and {area[region]:.1%} of the area (medians of {rows.sum()} images): "
                    f"attention off the cells."
                    for region in off
                ]
        return found

    def to_csv(
        self,
        files: Sequence[str],
        predicted: Sequence[str],
        p_cancer: NDArray[np.float64] | None,
    ) -> str:
        """A table with one row an image; an unknown share is left empty.

        Args:
            files: what each image is called.
            predicted: the name of its predicted class.
            p_cancer: its P(cancer), (N,); None where no class is benign.
        """
        columns = {
            **{f"area_{region}": values for region, values in self.area.items()},
            **{
                f"{method}_{region}": values
                for method, shares in self.shares.items()
                for region, values in shares.items()
            },
        }
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        told = [[] for _ in files] if p_cancer is None else [[repr(p)] for p in p_cancer.tolist()]
        head = [] if p_cancer is None else ["p_cancer"]
        writer.writerow(["file", "prediction", *head, *columns])
        for row, (file, name, p) in enumerate(zip(files, predicted, told, strict=True)):
            cells = [float(values[row]) for values in columns.values()]
            writer.writerow(
                [
                    as_cell(file),
                    as_cell(name),
                    *p,
                    *("" if np.isnan(x) else f"{x:.6f}" for x in cells),
                ]
            )
        return buffer.getvalue()


def make_regions(
    nuclei: NDArray[np.bool_], kept: NDArray[np.bool_]
) -> dict[str, NDArray[np.bool_]]:
    """Return the `REGIONS` of an image, each (H, W).

    Args:
        nuclei: where nuclei are, (H, W); those in the corner count as the corner.
        kept: where a run's mask keeps the pixels, (H, W).
    """
    height, width = nuclei.shape
    corner = np.zeros((height, width), dtype=np.bool_)
    corner[round(_CORNER[0] * height) :, round(_CORNER[1] * width) :] = True
    return {
        "nuclei": nuclei & ~corner,
        "background": ~nuclei & ~corner,
        "corner": corner,
        "kept": kept,
    }


def share_of(heat: NDArray[np.floating], region: NDArray[np.bool_]) -> float:
    """Return the share of a map's positive mass that lies on a region, in [0, 1].

    Args:
        heat: (H, W); what is negative counts as 0.
        region: (H, W).

    Returns:
        Nan for a map without positive mass.
    """
    positive = np.maximum(heat, 0.0, dtype=np.float64)
    total = positive.sum()
    return float(positive[region].sum() / total) if total > 0 else float("nan")


def divide(
    maps: Mapping[str, NDArray[np.floating]], regions: Mapping[str, NDArray[np.bool_]]
) -> Look:
    """Divide the maps of one image, each (H, W), among its regions, each (H, W)."""
    return Look(
        {
            method: {name: share_of(heat, region) for name, region in regions.items()}
            for method, heat in maps.items()
        },
        {name: float(region.mean()) for name, region in regions.items()},
    )


def gather(looks: Sequence[Look | None], methods: Sequence[str]) -> Attention:
    """Put the looks of N images together; None is an image that could not be used."""
    nothing = dict.fromkeys(REGIONS, float("nan"))
    empty = Look(dict.fromkeys(methods, nothing), nothing)
    whole = [empty if look is None else look for look in looks]
    return Attention(
        {
            method: {name: np.array([x.shares[method][name] for x in whole]) for name in REGIONS}
            for method in methods
        },
        {name: np.array([x.area[name] for x in whole]) for name in REGIONS},
    )


@mpl.rc_context(STYLE)
def attention_figure(
    attention: Attention, labels: NDArray[np.int64], names: Sequence[str]
) -> Figure:
    """A panel for each method and region of the partition, in it a box for each class.

    Args:
        attention: of N images.
        labels: the class of each image, true or predicted, (N,), in 0 to C - 1.
        names: of the C classes.
    """
    methods = list(attention.shares)
    width, shape = class_width(names, 0), (len(methods), len(PARTITION))
    if many := width > 0:  # below each other, for names that are written upwards
        figure = Figure(figsize=(width, 2 + 2.1 * len(methods) * len(PARTITION)))
        figure.set_layout_engine("constrained")
        grid = figure.subplots(shape[0] * shape[1], 1, sharex=True, squeeze=False).reshape(shape)
    else:
        figure = Figure(figsize=(10, 0.6 + 2.7 * len(methods)), layout="constrained")
        grid = figure.subplots(*shape, sharex=True, sharey="col", squeeze=False)
    places = range(1, len(names) + 1)
    for row, method in zip(grid, methods, strict=True):
        for axes, region in zip(row, PARTITION, strict=True):
            class_boxes(axes, attention.shares[method][region], labels, names)
            areas = by_class(attention.area[region], labels, len(names))
            medians = [np.median(values) if len(values) else np.nan for values in areas]
            axes.plot(places, medians, "D", color=ORANGE, label="share of the area (median)")
            axes.set(title=f"{METHODS[method][0]}: {region}")
            texts = [f"{name}\n(n={len(v)})" for name, v in zip(names, areas, strict=True)]
            if many:
                texts = [text.replace("\n", " ") for text in texts]
            axes.set_xticks(places, texts)
            turn_labels(axes, names)
        row[0].set_ylabel("share of the heat map")
    for axes in (
        grid.ravel() if many else grid[0]
    ):  # last, for it ends the scaling to what is drawn in the column
        axes.set_ylim(bottom=0)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center")
    return figure


_COLOURS: Final = "viridis"  # ordered by lightness too, so that colour-blind readers lose nothing
_STRENGTH: Final = 0.6  # of the map over the image
_LEAST: Final = 1e-12


def overlay(picture: NDArray[np.uint8], heat: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Lay a heat map over an image in grey.

    Args:
        picture: RGB, (H, W, 3).
        heat: (H, W); its maximum is the brightest colour, 0 and below the darkest.

    Returns:
        RGB, (H, W, 3).
    """
    positive = np.maximum(heat, 0)
    colours = mpl.colormaps[_COLOURS](positive / max(positive.max(), _LEAST))[..., :3]
    mixed = _STRENGTH * 255 * colours + (1 - _STRENGTH) * _grey(picture)
    return np.asarray(np.round(mixed), dtype=np.uint8)


@mpl.rc_context(STYLE)
def heat_figure(
    picture: NDArray[np.uint8], maps: Mapping[str, tuple[NDArray[np.floating], str]], title: str
) -> Figure:
    """An image beside its heat maps, each over the image in grey with its colour bar.

    Args:
        picture: RGB, (H, W, 3).
        maps: by method, the map (H, W), drawn from 0 up, and the unit of its values.
        title: stands above; plain text.
    """
    # Placed by hand: a layout engine would take as long as the maps.
    width, height = 3.0 + 3.9 * len(maps), 3.8
    figure = Figure(figsize=(width, height))
    lefts = [0.1, *(3.2 + 3.9 * i for i in range(len(maps)))]
    panels = [figure.add_axes((x / width, 0.1 / height, 2.8 / width, 2.8 / height)) for x in lefts]
    panels[0].imshow(picture)
    panels[0].set_title("image")
    for left, axes, (method, (heat, unit)) in zip(lefts[1:], panels[1:], maps.items(), strict=True):
        axes.imshow(_grey(picture).astype(np.uint8).repeat(3, axis=2))
        drawn = axes.imshow(
            np.maximum(heat, 0),
            cmap=_COLOURS,
            alpha=_STRENGTH,
            vmin=0,
            vmax=max(float(heat.max()), _LEAST),
        )
        axes.set_title(method)
        bar = figure.add_axes(((left + 2.9) / width, 0.3 / height, 0.1 / width, 2.4 / height))
        figure.colorbar(drawn, cax=bar, label=unit)
    for axes in panels:
        axes.set_axis_off()
    figure.suptitle(title, x=0.1 / width, ha="left", fontsize=10, parse_math=False)
    return figure


def _grey(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    weights = np.array([0.299, 0.587, 0.114])  # of R, G and B in brightness (ITU-R BT.601)
    grey: NDArray[np.float64] = (picture @ weights)[..., np.newaxis]
    return grey
