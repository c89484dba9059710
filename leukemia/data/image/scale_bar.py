"""The scale bar that software burnt into the lower right corner of a photograph.

All but one of 2,604 images of Aria et al. have one, in styles that go with the class: it tells
the label.
"""

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leukemia.data.image.stain import to_bytes
from leukemia.errors import UserError

Mask = NDArray[np.bool_]

_REGION: Final = (0.7, 0.6)
"""Where a bar is looked for: below this share of the height, right of this share of the width."""
_BLACK: Final = 110
"""No channel of black ink is above this."""
_NEUTRAL: Final = 45
"""Nor are its channels further apart: nuclei and stain debris are as dark, but blue or purple."""
_DARKER: Final = 30
"""How much darker black ink is than what is beside it, which may be a nucleus."""
_RED: Final = 30
_FAINT: Final = 12
"""How much further red exceeds both other channels in red ink, and at its edges, than beside it."""
_SCARLET: Final = 75
"""By how much red exceeds green in red ink; cells pink with eosin have less."""
_WHITE: Final = 242
"""All channels of the box that black ink stands on are at least this."""
_PAPER: Final = 0.4
_SIDE: Final = 0.9
"""Least share of white in the rectangle of ink on a box, and in each further line of the box."""

# Lengths in pixels of an image 224 wide, as the published files are.
_STROKE: Final = 6  # ink is thinner than this, cells and debris are not
_GAP: Final = 10  # ink this near belongs together: letters, ticks and line
_LINE: Final = 14  # black ink without a box has a straight horizontal line this long
_INK: Final = 5  # square pixels of ink, at least
_PADDING: Final = 9  # a box reaches no further around its ink
_RIM: Final = 3  # colour is fitted on a rim this wide
_SEAM: Final = 4  # and the fit fades over this distance
_FADE: Final = 0.02  # weight of the rim below which it stops to count


def check_treatment(mode: str) -> None:
    """Refuse what cannot be done with a scale bar.

    Raises:
        UserError: it is neither ``keep`` nor ``remove``.
    """
    if mode not in ("keep", "remove"):
        raise UserError(f"Expected mask.scale_bar to be one of keep, remove, but got '{mode}'.")


def find_scale_bar(rgb: NDArray[np.uint8]) -> Mask:
    """Find the pixels of a scale bar: line, ticks, text and the white box they stand on.

    A bar is thin ink in the lower right corner: red, or black on a white box, or black with a
    straight horizontal line. On the images of Aria et al. it is found in all 2,604 but one,
    and in two of them turned by 180 degrees, where there is none (black debris). Bars of other
    places and colours, white among them, are not found.

    Args:
        rgb: an image as it was photographed, not masked; shape ``(H, W, 3)``, uint8.

    Returns:
        Shape ``(H, W)``; all False for an image without a bar.
    """
    boxes, strokes = _find(rgb)
    return boxes | strokes


def remove_scale_bar(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Paint over the scale bar.

    Strokes without a box are in-painted from around them (doi:10.1080/10867651.2004.10487596). A
    box is replaced by the mirror image of what lies above it, fitted in colour along its edges:
    a smooth patch of its outline would be as good a mark as the box itself. So cells may be
    doubled there.

    Args:
        rgb: an image as it was photographed, not masked; shape ``(H, W, 3)``, uint8; it is not
            changed.

    Returns:
        An image of the same shape; the same array where no bar is found.
    """
    boxes, strokes = _find(rgb)
    if not boxes.any() and not strokes.any():
        return rgb
    clean = _mirrored(rgb, boxes) if boxes.any() else rgb
    if not strokes.any():
        return clean
    radius = 3 * rgb.shape[1] / 224
    # Only what the in-painting looks at: it takes its time for every pixel.
    near = _bounds(strokes, 2 * math.ceil(radius), 2 * math.ceil(radius))
    filled = clean.copy()
    holes, source = _bytes(strokes[near]), np.ascontiguousarray(clean[near])
    filled[near] = cv2.inpaint(source, holes, radius, cv2.INPAINT_TELEA)
    return filled


def _find(rgb: NDArray[np.uint8]) -> tuple[Mask, Mask]:
    """Return the white boxes and the strokes that stand on none, both of the image's shape."""
    height, width = rgb.shape[:2]
    boxes, strokes = np.zeros((2, height, width), dtype=np.bool_)
    corner = (slice(int(_REGION[0] * height), None), slice(int(_REGION[1] * width), None))
    pixels, unit = rgb[corner], width / 224
    low, high = pixels.min(axis=-1), pixels.max(axis=-1)
    red = pixels[..., 0] - pixels[..., 1:].max(axis=-1).astype(np.int16)
    thin = cv2.morphologyEx(red, cv2.MORPH_TOPHAT, _square(_STROKE * unit))
    scarlet = cv2.subtract(pixels[..., 0], pixels[..., 1]) > _SCARLET
    for mark in _marks(scarlet & (thin > _RED), unit):
        around = _bounds(mark, round(unit), round(_GAP * unit))
        strokes[corner][around] |= thin[around] > _FAINT
    black = (high < _BLACK) & (high - low < _NEUTRAL)
    darker = cv2.morphologyEx(high, cv2.MORPH_BLACKHAT, _square(_STROKE * unit)) > _DARKER
    for mark in _marks(black & darker, unit):
        box = _white_box(low >= _WHITE, mark, unit)
        if box is not None:
            boxes[corner][box] = True
        elif cv2.erode(_bytes(mark), _square(_LINE * unit)[:1]).any():
            strokes[corner] |= mark
    # The pixels beside ink are partly ink.
    once, twice = _square(2 * round(unit) + 1), _square(4 * round(unit) + 1)
    return cv2.dilate(_bytes(boxes), once) > 0, cv2.dilate(_bytes(strokes), twice) > 0


def _marks(ink: Mask, unit: float) -> list[Mask]:
    """Part ink into marks of neighbouring strokes; what is too thick for a stroke is no ink."""
    thick = cv2.erode(_bytes(ink), _square(_STROKE * unit), borderValue=0)
    _, strokes = cv2.connectedComponents(_bytes(ink))
    # What the region cuts is something larger, too.
    no_ink = np.concatenate([strokes[thick > 0], strokes[0], strokes[:, 0]])
    ink = ink & ~np.isin(strokes, np.unique(no_ink))
    n_marks, labels = cv2.connectedComponents(cv2.dilate(_bytes(ink), _square(_GAP * unit)))
    marks = (ink & (labels == label) for label in range(1, n_marks))
    return [mark for mark in marks if mark.sum() >= _INK * unit**2]


def _white_box(white: Mask, mark: Mask, unit: float) -> tuple[slice, slice] | None:
    """Return the white rectangle that a mark stands on, if it does."""
    rows, columns = _bounds(mark)
    if white[rows, columns].mean() < _PAPER:
        return None
    far = round(_PADDING * unit)
    return (
        _widened(rows, white[:, columns].mean(axis=1) > _SIDE, far, gap=round(unit)),
        # Antialiased letters and ticks stand between the ink and the sides of the box.
        _widened(columns, white[rows].mean(axis=0) > _SIDE, far, gap=far),
    )


def _widened(span: slice, white: Mask, far: int, gap: int) -> slice:
    """Return the span with the white lines on both sides, across up to ``gap`` other ones."""
    start, stop = span.start, span.stop
    while any(after := white[stop : min(stop + gap + 1, span.stop + far)]):
        stop += 1 + int(np.argmax(after))
    while any(before := white[max(start - gap - 1, span.start - far, 0) : start][::-1]):
        start -= 1 + int(np.argmax(before))
    return slice(start, stop)


def _bounds(mark: Mask, above: int = 0, beside: int = 0) -> tuple[slice, slice]:
    """Return the rows and columns of a mark's rectangle, with a margin."""
    rows, columns = (np.flatnonzero(mark.any(axis=axis))[[0, -1]] for axis in (1, 0))
    return (
        slice(max(int(rows[0]) - above, 0), int(rows[1]) + 1 + above),
        slice(max(int(columns[0]) - beside, 0), int(columns[1]) + 1 + beside),
    )


def _mirrored(rgb: NDArray[np.uint8], boxes: Mask) -> NDArray[np.uint8]:
    """Return the image with boxes replaced by what lies above the highest, mirrored and fitted."""
    unit = rgb.shape[1] / 224
    margin = round(_RIM * unit)
    rows, columns = _bounds(boxes, margin, margin)
    top = _bounds(boxes)[0].start
    box, around = boxes[rows, columns], rgb[rows, columns].astype(np.float32)
    at = np.arange(rows.start, rows.start + len(box))
    source = rgb[np.where(at < top, at, 2 * top - 1 - at), columns].astype(np.float32)
    # What the seam lacks in colour, spread inwards by a normalised convolution.
    rim = (cv2.dilate(_bytes(box), _square(2 * margin + 1)) > 0) & ~box
    weight = rim.astype(np.float32)
    lack = _blurred((around - source) * weight[..., None], unit)
    source += lack / (_blurred(weight, unit) + _FADE)[..., None]
    mirrored = rgb.copy()
    mirrored[rows, columns][box] = to_bytes(source)[box]
    return mirrored


def _blurred(values: NDArray[np.float32], unit: float) -> NDArray[np.float32]:
    blurred = cv2.GaussianBlur(values, (0, 0), _SEAM * unit, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred, dtype=np.float32)


def _square(side: float) -> NDArray[np.uint8]:
    return np.ones((max(1, round(side)),) * 2, np.uint8)


def _bytes(mask: Mask) -> NDArray[np.uint8]:
    return mask.astype(np.uint8)
