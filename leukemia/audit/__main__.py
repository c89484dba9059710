"""Find what makes figures on a dataset untrue: ``python -m leukemia.audit``."""

import csv
import io
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from leukemia import cli
from leukemia.disk import check_writable, write_text
from leukemia.errors import UserError, check_count, check_number
from leukemia.text import as_cell, visible

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from leukemia.audit.findings import Audit
    from leukemia.audit.health import Survey
    from leukemia.data.files.manifest import Manifest

_SETTINGS = ("seed", "duplicates", "groups", "health", "floors", "protocols")


def main() -> None:
    """Run the command line."""
    cli.run_verb(audit, "audit", each="dataset")


def audit(cfg: DictConfig) -> None:
    """Audit the images of ``data``, and write what was found."""
    # Imported here, so that help never waits for numpy.
    from leukemia.audit.page import write_audit
    from leukemia.compose.preprocess import (
        build_classes,
        build_layout,
        cache_dir,
        find_root,
        settle_classes,
    )
    from leukemia.data.files.manifest import build_manifest
    from leukemia.data.image.scale_bar import check_treatment
    from leukemia.runs.directory import write_json

    _check(cfg)
    check_treatment(cfg.mask.scale_bar)
    output = Path(cfg.output or f"runs/audit_{cfg.data.name}").expanduser()
    if output.exists() and not output.is_dir():
        raise UserError(f"Expected output to be a folder, but '{output}' is a file.")
    check_writable(output, "Name another folder by output=.")
    # Pillow's, about files that are then either read whole or listed as bad.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    root = find_root(cfg)
    if root.resolve() in (output.resolve(), *output.resolve().parents):
        raise UserError(f"output '{output}' lies inside the dataset '{root}': name another one.")
    settle_classes(cfg)
    manifest = build_manifest(
        root,
        build_classes(cfg),
        layout=build_layout(cfg),
        on_bad=cfg.data.on_bad,
        cache_dir=cache_dir(cfg),
        workers=cfg.data.workers,
        verify=True,
    )
    found = _look(cfg, root, manifest)
    write_json(output / "audit.json", found.to_json())
    write_text(output / "groups.csv", _groups_csv(found))
    write_audit(output, found, lambda row: _picture(root / found.files[row]))
    for line in (*found.findings(), *found.notes):
        print(visible(f"  {line}"))
    print(f"{len(found.files)} images audited: {output / 'audit.html'}")


def _look(cfg: DictConfig, root: Path, manifest: "Manifest") -> "Audit":
    """Measure the images once, and draw all conclusions from that."""
    import numpy as np

    from leukemia.audit.acquisition import find_groups, keep_together
    from leukemia.audit.duplicates import duplicate_groups, find_duplicates
    from leukemia.audit.findings import Audit
    from leukemia.audit.floors import build_protocols, measure_floors
    from leukemia.audit.health import STYLES, survey, unfit
    from leukemia.compose.preprocess import build_classes
    from leukemia.data.split.groups import join_groups, related_groups

    table = cfg.data.groups
    own = related_groups(manifest) if manifest.related else None
    own = own if table is None else join_groups(manifest, Path(str(table)).expanduser())
    kept = survey(
        root,
        manifest,
        scale_bar=cfg.mask.scale_bar,
        workers=cfg.data.workers,
        progress=cfg.progress,
    )
    manifest = _left(manifest, kept, cfg.data.on_bad)
    own = None if own is None else own[kept.rows]
    pairs = find_duplicates(kept.thumbnails, manifest.sha256, **cfg.duplicates)
    styles = np.array([one.bar for one in kept.health], dtype=np.int64)
    groups = find_groups(kept.appearances, styles, **cfg.groups)
    groups = keep_together(groups, duplicate_groups(pairs, len(manifest)))
    protocols, notes = build_protocols(cfg, manifest, groups if own is None else own)
    classes = build_classes(cfg)
    measures = {"blur": "sharpness", "under": "under-exposed", "over": "over-exposed"}
    return Audit(
        name=cfg.data.name,
        fingerprint=manifest.fingerprint,
        classes=classes,
        files=manifest.files,
        labels=manifest.labels,
        pairs=[asdict(pair) for pair in pairs],
        groups=groups,
        own_groups=own is not None,
        bars=[STYLES[style] for style in styles],
        measured={
            name: np.array([getattr(one, key) for one in kept.health], dtype=np.float64)
            for key, name in {**measures, "nuclei": "nuclei"}.items()
        },
        unfit=unfit(kept.health, **cfg.health),
        floors=measure_floors(kept.cues, manifest.labels, classes, protocols, **cfg.floors),
        skipped=[(bad.path, bad.reason) for bad in manifest.skipped],
        notes=notes,
        settings=_plain(cfg),
    )


def _left(manifest: "Manifest", kept: "Survey", on_bad: str) -> "Manifest":
    """Return the rows that could be measured; the others have been lost since they were listed.

    Raises:
        UserError: bad files are not to be left out, or a class has none other.
    """
    from leukemia.data.files.images import name_some
    from leukemia.data.files.manifest import BadFile
    from leukemia.data.split.parts import class_folder

    left = manifest.take(kept.rows)
    lost = tuple(BadFile(manifest.files[row], reason) for row, reason in kept.lost.items())
    emptied = sorted(set(manifest.labels.tolist()) - set(left.labels.tolist()))
    if lost and (emptied or on_bad == "error"):
        gone = f", with them all of {class_folder(manifest, emptied[0])}" if emptied else ""
        raise UserError(
            f"{len(lost)} of {len(manifest)} images were lost while they were looked at{gone}: "
            f"{name_some([f'{bad.path} ({bad.reason})' for bad in lost])}. Start again."
        )
    return replace(left, skipped=manifest.skipped + lost)


def _picture(path: Path) -> "NDArray[np.uint8]":
    """Return an image for the page, (H, W, 3); grey where it is gone by now."""
    import numpy as np

    from leukemia.audit.health import SIDE
    from leukemia.data.files.images import read_image
    from leukemia.data.image.preprocess import shrink

    try:
        return shrink(read_image(path), SIDE)
    except Exception:  # whatever it is: the page is worth more than a picture
        return np.full((SIDE, SIDE, 3), 128, np.uint8)


def _plain(cfg: DictConfig) -> dict[str, Any]:
    """Return the settings that what was found depends on."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    if not isinstance(plain, dict):
        return {}
    scale_bar = {"mask.scale_bar": cfg.mask.scale_bar}
    return {key: plain[key] for key in _SETTINGS} | scale_bar


def _groups_csv(found: "Audit") -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["file", "group"])
    files = map(as_cell, found.files)
    writer.writerows(zip(files, (found.groups + 1).tolist(), strict=True))
    return out.getvalue()


def _check(cfg: DictConfig) -> None:
    """Refuse numbers out of range, before minutes are spent on the images.

    Raises:
        UserError: one is.
    """
    for key in ("duplicates.threshold", "groups.largest", "health.exposure"):
        value = OmegaConf.select(cfg, key)
        check_number(key, value, "above 0 and at most 1", lambda number: 0 < number <= 1)
    for key in ("health.blur", "floors.penalty"):
        check_number(key, OmegaConf.select(cfg, key), "above 0", lambda number: number > 0)
    check_count("seed", cfg.seed, least=0)
    check_count("groups.smallest", cfg.groups.smallest, least=2)
    # Fewer could all be of one class, which teaches nothing.
    check_count("floors.most", cfg.floors.most, least=100)
    for name, protocol in cfg.protocols.items():
        if not isinstance(protocol, DictConfig | None):
            raise UserError(
                f"Expected protocols.{name} to be null, which leaves it out, or the settings of a "
                f"split, but got {protocol!r}."
            )
    if cfg.protocols.kfold is not None:
        check_count("protocols.kfold.folds", cfg.protocols.kfold.folds, least=3)


if __name__ == "__main__":
    main()
