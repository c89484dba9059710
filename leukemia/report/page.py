"""The parts of a page of HTML that needs nothing but itself; all text is escaped here."""

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from leukemia.report.figures import render

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 70rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { line-height: 1.2; margin-bottom: .5rem; }
h2 { margin-top: 2.5rem; border-bottom: 2px solid #0072B2; }
.warning { border-left: .4rem solid #D55E00; background: #fdf1e7; padding: .6rem 1rem; }
.row { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; align-items: flex-start; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
.table { max-width: 100%; overflow-x: auto; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #ddd;
  vertical-align: top; overflow-wrap: anywhere; }
thead th { border-bottom: 2px solid #888; overflow-wrap: normal; }
tbody th { font-weight: 400; min-width: min(12rem, 30vw); }
figure { margin: 1rem 0; }
figcaption, .small { font-size: .875rem; color: #444; }
img { max-width: 100%; height: auto; }
.cases { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; align-items: flex-start; }
.cases figure { margin: 0; border-top: 1px solid #ddd; padding-top: .5rem; width: min-content;
  min-width: 20rem; overflow-wrap: anywhere; }
.views { display: flex; gap: .4rem; }
.views span { display: block; width: 10rem; font-size: .75rem; color: #444; }
.views img { display: block; width: 10rem; }
pre { background: #f5f5f5; padding: 1rem; font-size: .8125rem; white-space: pre-wrap;
  overflow-wrap: anywhere; columns: 3 20rem; }
@media (max-width: 45rem) {
  .cases figure { width: 100%; min-width: 0; }
  .views { flex-wrap: wrap; }
}
@media print {
  body { max-width: none; margin: 0; font-size: 10pt; }
  figure, tr { break-inside: avoid; }
  .row figure { width: 45%; }
  .table { overflow: visible; break-inside: avoid; }
  tbody th { min-width: 3.4cm; }
  .cases { gap: .3cm .6cm; }
  .cases figure { width: min-content; min-width: 7.8cm; }
  .views { flex-wrap: nowrap; }
  .views span, .views img { width: 3.8cm; }
  h2, h3, caption { break-after: avoid; }
}
"""


def page(title: str, sections: Sequence[str]) -> str:
    """The whole document.

    Args:
        title: plain text; of the window, and the heading.
        sections: HTML of the body, in order.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Even a slip in escaping could then not reach the network.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(sections) + "\n</body>\n</html>\n"
    )


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain text, whose first column names the rows."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "\n".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="table"><table><caption>{escape(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def image(figure: Figure, alt: str, caption: str) -> str:
    """A figure with its caption, the picture inside the page."""
    width = round(figure.get_figwidth() * 96)  # half the pixels that `render` draws
    return (
        f'<figure><img src="{_inside(render(figure), "png")}" width="{width}" '
        f'alt="{escape(alt)}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def photograph(pixels: NDArray[np.uint8], alt: str, *, side: int, quality: int = 82) -> str:
    """A photograph as a small JPEG inside the page.

    Args:
        pixels: RGB, (H, W, 3).
        alt: what a reader without pictures must know.
        side: the longer side at most, in pixels; a smaller photograph is not enlarged.
        quality: of the JPEG, 1 to 95.
    """
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, optimize=True)
    width, height = picture.size
    return (
        f'<img src="{_inside(buffer.getvalue(), "jpeg")}" width="{width}" height="{height}" '
        f'alt="{escape(alt)}">'
    )


def _inside(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
