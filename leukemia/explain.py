"""Show where a finished run looks in images: ``python -m leukemia.explain``."""

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from leukemia import cli
from leukemia.disk import check_writable, write_text
from leukemia.errors import UserError
from leukemia.runs.directory import open_run
from leukemia.settings.settled import asked
from leukemia.text import visible

if TYPE_CHECKING:
    from leukemia.data.files.inputs import Found


_MOST_SHOWN = 6  # probabilities in the title of a picture


def main() -> None:
    """Run the command line."""
    cli.run_verb(explain, "explain", each="run")


def explain(cfg: DictConfig) -> None:
    """Explain the images of ``input``; leave with status 1 where some could not be used."""
    # Imported here, so that help never waits for numpy.
    from leukemia.data.files.images import name_some
    from leukemia.data.files.inputs import find_images

    for key in ("run", "input"):
        if cfg[key] is None:
            raise UserError(f"Expected {key}=..., but got none: --help shows how.")
    found = find_images(cfg.input if isinstance(cfg.input, str) else list(cfg.input))
    output = _output(cfg, found)
    open_run(Path(cfg.run).expanduser(), trust=True)  # refused before torch is waited for
    # Pillow's, about files that are then either read whole or listed as bad.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    bad = _explain_all(cfg, found, output)
    print(f"{len(found.paths) - len(bad)} images explained in {output}")
    print("Research software, no diagnosis.")
    if found.passed_over:
        print(f"Passed over: {name_some(found.passed_over)}", file=sys.stderr)
    for line in bad:
        print(visible(f"  {line}"), file=sys.stderr)
    if bad:
        cli.fail(f"{len(bad)} of {len(found.paths)} files cannot be used (named above).", 1)


def _explain_all(cfg: DictConfig, found: "Found", output: Path) -> list[str]:
    """Write a picture for each image, and the table; return the bad files with reasons."""
    import numpy as np
    from tqdm import tqdm

    from leukemia.data.files.images import BadImage, unexpected
    from leukemia.measure.calibration import apply_temperature
    from leukemia.measure.predictions import cancer_probability
    from leukemia.report.attention import METHODS, attention_figure, divide, gather, heat_figure
    from leukemia.report.figures import save
    from leukemia.runs.explainer import Explainer
    from leukemia.runs.finished import open_finished

    wanted = asked(cfg)
    # The maps are of the image as it is, and so is what they explain.
    finished = open_finished(Path(cfg.run).expanduser(), trust=cfg.trust, **wanted, tta=False)
    explainer = Explainer(finished, target=cfg.target, patch=cfg.patch, stride=cfg.stride)
    temperature, names = finished.calibration().temperature, finished.classes.names
    files, scores, looks, bad = [], [], [], []
    for name, path, picture in tqdm(
        zip(found.names, _pictures(found, output), explainer.pictures(found.paths), strict=True),
        "explaining",
        len(found.paths),
        leave=False,
        disable=None if cfg.runtime.progress else True,
        unit="image",
    ):
        if isinstance(picture, BadImage):
            bad.append(f"{name}: {picture}")
            continue
        try:
            flat = finished.score(explainer.pixels(picture)[np.newaxis])
            probabilities = apply_temperature(flat, temperature)[0]
            explained = explainer.explain(picture, probabilities)
            look = divide(explained.maps, explained.regions)
            title = _title(path.stem, probabilities.tolist(), names, cfg.target)
            maps = {
                METHODS[key][0]: (heat, METHODS[key][1]) for key, heat in explained.maps.items()
            }
            figure = heat_figure(picture, maps, title)
        except UserError:
            raise
        # One image never takes what is said of the others with it.
        except Exception as error:
            bad.append(f"{name}: {unexpected(error)}")
            continue
        with _writing(output):
            save(figure, path)
        files.append(name)
        scores.append(probabilities)
        looks.append(look)
    if files:
        table = np.array(scores)
        predicted, attention = table.argmax(axis=1), gather(looks, explainer.methods)
        has_cancer = finished.classes.has_cancer
        cancer = cancer_probability(table, finished.classes) if has_cancer else None
        text = attention.to_csv(files, [names[i] for i in predicted], cancer)
        with _writing(output):
            write_text(output / "explain.csv", text)
            save(attention_figure(attention, predicted, names), output / "attention.png")
        for line in attention.warnings(predicted, names):
            print(line)
    return bad


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"'{output}' cannot be written: {error.strerror}.") from error


def _output(cfg: DictConfig, found: "Found") -> Path:
    """Return the folder to write.

    Raises:
        UserError: it must not or cannot be written.
    """
    output = Path(cfg.output).expanduser()
    if output.exists() and not output.is_dir():
        raise UserError(f"Expected output to be a folder, but '{output}' is a file.")
    inside = next((path for path in found.paths if _lies_in(path, output)), None)
    if inside is not None:
        raise UserError(f"output '{output}' holds an image of input, '{inside}': name another one.")
    check_writable(output, "Name another output.")
    return output


def _lies_in(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents


def _pictures(found: "Found", output: Path) -> list[Path]:
    """Return where the picture of each file goes: under output as the files lie together."""
    paths = [Path(os.path.abspath(path)) for path in found.paths]  # noqa: PTH100 - no links
    base = os.path.commonpath([path.parent for path in paths])
    # With the suffix, because a.jpg may lie beside a.png.
    return [output / path.relative_to(base).with_name(f"{path.name}.png") for path in paths]


def _title(name: str, probabilities: Sequence[float], names: Sequence[str], target: str) -> str:
    ranked = sorted(range(len(names)), key=lambda i: -probabilities[i])
    best = ranked[0]
    # Of many classes the title has room for the most probable ones.
    shown = range(len(names)) if len(names) <= _MOST_SHOWN else ranked[:3]
    said = "   ".join(f"{names[i]} {probabilities[i]:.3f}" for i in shown)
    why = "" if target == "predicted" else f"; the maps explain {target}"
    return f"{name}\npredicted {names[best]}{why}      P:  {said}"


if __name__ == "__main__":
    main()
