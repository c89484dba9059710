"""split.csv: the parts of a run, by file."""

import csv
import io
from pathlib import Path

from leukemia.atomic import write_text
from leukemia.classes import Classes
from leukemia.data.manifest import Manifest
from leukemia.data.split import Split


def write_split(path: Path, split: Split, manifest: Manifest, classes: Classes) -> None:
    """Write file, sha256, label, group and part of every image used, in manifest order."""
    part_of = {row: part for part, rows in split.parts.items() for row in rows.tolist()}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["file", "sha256", "label", "group", "part"])
    for row in sorted(part_of):
        writer.writerow(
            [
                manifest.files[row],
                manifest.sha256[row],
                classes.names[manifest.labels[row]],
                int(split.groups[row]),
                part_of[row],
            ]
        )
    write_text(path, out.getvalue())
