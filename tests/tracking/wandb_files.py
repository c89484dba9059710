"""Reads what W&B wrote offline. Its format is W&B's own affair, so all that knows it is here."""

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

_BLOCK = 32 * 1024  # LevelDB's log format: blocks of records, each a checksum, length and kind
_HEADER = struct.Struct("<IHB")
_WHOLE, _LAST = 1, 4


@dataclass
class WandbRun:
    """What one `.wandb` file holds."""

    folder: Path
    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    step_of: dict[str, str] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    exit_code: int | None = None

    def table(self, key: str) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows of a table of the summary."""
        content = json.loads((self.folder / "files" / self.summary[key]["path"]).read_text())
        return content["columns"], content["data"]

    def files(self, kind: str) -> list[Path]:
        """Where the files of all artifacts of a kind lie until they are sent."""
        found = [artifact for artifact in self.artifacts if artifact.type == kind]
        return [Path(x.local_path) for artifact in found for x in artifact.manifest.contents]

    def images(self) -> list[Path]:
        """The JPEGs in its tables."""
        return [path for path in self.files("run_table") if path.read_bytes()[:2] == b"\xff\xd8"]


def records(path: Path) -> Iterator[Any]:
    data, at, held = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + _HEADER.size <= len(data):
        if (left := _BLOCK - at % _BLOCK) < _HEADER.size:
            at += left
            continue
        _, length, kind = _HEADER.unpack_from(data, at)
        if not kind:
            return
        at += _HEADER.size
        held += data[at : at + length]
        at += length
        if kind in (_WHOLE, _LAST):
            yield Record.FromString(held)
            held = b""


def read_part(folder: Path) -> WandbRun:
    """Read a folder `offline-run-*`."""
    (path,) = folder.glob("*.wandb")
    found = WandbRun(folder)
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run = record.run
            found.config = {x.key: json.loads(x.value_json) for x in record.run.config.update}
        elif kind == "history":
            row: dict[str, Any] = {}
            _put_all(row, record.history.item)
            found.rows.append(row)
        elif kind == "summary":
            _put_all(found.summary, record.summary.update)
        elif kind == "metric" and record.metric.glob_name:
            found.step_of[record.metric.glob_name] = record.metric.step_metric
        elif kind == "artifact":
            found.artifacts.append(record.artifact)
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def read_only_part(run_dir: Path) -> WandbRun:
    """Read the one part that `wandb sync` of a run directory would find, once it is closed."""
    (folder,) = (run_dir / "wandb").glob("offline-run-*")
    deadline = time.monotonic() + 20
    while (found := read_part(folder)).exit_code is None:  # W&B's helper ends after `finish`
        assert time.monotonic() < deadline, f"{folder} was not closed"
        time.sleep(0.02)
    return found


def _put_all(into: dict[str, Any], items: Any) -> None:
    for item in items:
        *path, last = item.nested_key or [item.key]
        place = into
        for key in path:
            place = place.setdefault(key, {})
        place[last] = json.loads(item.value_json)
