"""Every split protocol beside every model: a table and a figure.

python experiments/trust/protocols.py [MODEL RUN [RUN ...]]

adds the test figures of finished runs, or those of a study of folds over all of its folds, to
protocols.csv under the name MODEL, takes in the audit's floors and the recorded runs on the paper's
files, and draws protocols.png.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from omegaconf import OmegaConf

from leukemia.report.figures import CLASS_COLOURS, GREY, save

HERE = Path(__file__).parent
SPLITS = ("leaky", "stratified", "paper", "grouped", "kfold")
COLOURS = (*CLASS_COLOURS, GREY, "#F0E442")
HALF = ", half size"  # drawn hollow, in the colour of the model at full size
FIGURES = ("accuracy", "cancer_sensitivity", "cancer_specificity")
NUMBERS = (*(f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")), "nll")
COLUMNS = ("model", "split", "seed", "n", *NUMBERS, "minutes", "commit")
FLOORS = ("colour histogram", "lower right corner")
RECORDED = {
    "default": "defaults",
    "resnet18": "fine-tuned",
    "frozen": "discriminant",
    "frozen at 224 pixels": "discriminant, half size",
    "baseline, He's first weights": "baseline",
    "baseline, centred input": "baseline, centred",
    "robust": "robust",
}
FOLDS = {"kfold_resnet18": "fine-tuned", "kfold_robust_blur": "robust and blur"}
Row = dict[str, Any]


def measured(name: str, value: float | str, interval: list[Any] | None) -> Row:
    """Return the columns of a figure and its interval."""
    low, high = interval or ("", "")
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def judged(figures: dict[str, Any]) -> Row:
    """Return the columns of a part of a metrics.json."""
    names = zip(FIGURES, ("accuracy", "cancer_recall", "cancer_specificity"), strict=True)
    row: Row = {"n": figures["n"], "nll": figures["nll"]}
    for name, key in names:
        row |= measured(name, figures[key], figures["interval"][key])
    return row


def of_run(model: str, run: Path) -> Row:
    """Return the row of a run, or of a study of folds."""
    figures = json.loads((run / "metrics.json").read_text())
    trials = sorted(run.glob("[0-9]")) if "pooled" in figures else [run]
    where = [json.loads((trial / "environment.json").read_text()) for trial in trials]
    cfg = OmegaConf.load(trials[0] / "config.yaml")
    return {
        "model": model,
        "split": cfg.split.name,
        "seed": cfg.seed,
        **judged(figures.get("pooled") or figures["test"]),
        "minutes": round(sum(one["wall_seconds"] for one in where) / 60, 1),
        "commit": where[0]["git"]["commit"][:10],
    }


def of_floor(floor: dict[str, Any]) -> Row:
    """Return the row of a floor in an audit.json."""
    return {
        "model": floor["features"],
        "split": floor["protocol"],
        "n": floor["n"],
        **measured("accuracy", floor["accuracy"], floor["interval"]),
        **measured("cancer_sensitivity", floor["cancer_recall"], floor["cancer_recall_interval"]),
    }


def of_record(line: dict[str, str]) -> Row:
    """Return the row of a recorded run on the paper's files."""
    return {
        **{key: line[key] for key in COLUMNS if key in line},
        "model": RECORDED[line["run"]],
        "split": "paper",
        **measured(
            "cancer_sensitivity",
            line["cancer_sensitivity"],
            [line["sensitivity_low"], line["sensitivity_high"]],
        ),
        "minutes": round(float(line["wall_seconds"]) / 60, 1),
    }


def known() -> list[Row]:
    """Return what stands elsewhere: the audit's floors, the paper's files, recorded folds."""
    audit = json.loads((HERE / "audit" / "audit.json").read_text())
    rows = [of_floor(floor) for floor in audit["floors"] if floor["features"] in FLOORS]
    with (HERE.parent / "paper_system" / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    rows += [of_record(one) for one in lines if one["part"] == "test" and one["run"] in RECORDED]
    for folder, model in FOLDS.items():
        figures = json.loads((HERE / folder / "metrics.json").read_text())["pooled"]
        rows.append({"model": model, "split": "kfold", "seed": 0, **judged(figures)})
    return rows


def draw(rows: list[Row]) -> Figure:
    """Draw each run's figures with their intervals, protocol after protocol."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    whole = list(dict.fromkeys(model.removesuffix(HALF) for model in models))
    looks = {}
    for model in models:
        colour = COLOURS[whole.index(model.removesuffix(HALF))]
        hollow = "w" if model.endswith(HALF) else colour
        looks[model] = {"color": colour, "markerfacecolor": hollow, "markersize": 4}
    figure = Figure(figsize=(12, 10), layout="constrained")
    for axes, name in zip(figure.subplots(3, 1, sharex=True), FIGURES, strict=True):
        for number, model in enumerate(models):
            for place, split in enumerate(SPLITS):
                found = [r for r in rows if (r["model"], r["split"]) == (model, split)]
                middle = place + 0.8 * ((number + 0.5) / len(models) - 0.5)
                for nth, row in enumerate(found):
                    if row[name] == "":
                        continue
                    x = middle + 0.025 * (nth - (len(found) - 1) / 2)
                    if row[f"{name}_low"] != "":
                        ends = (float(row[f"{name}_low"]), float(row[f"{name}_high"]))
                        axes.vlines(x, *ends, color=looks[model]["color"], linewidth=1)
                    axes.plot(x, float(row[name]), "o", **looks[model])
        axes.set(ylabel=name.replace("_", " "), ylim=(None, 1.005))
        axes.grid(axis="y")
        axes.set_xticks(range(len(SPLITS)), SPLITS)
    handles = [axes.plot([], [], "o", label=model, **looks[model])[0] for model in models]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
    return figure


def main() -> None:
    """Take in the runs, and draw."""
    table = HERE / "protocols.csv"
    before: list[Row] = []
    if table.is_file():
        with table.open(newline="") as file:
            before = list(csv.DictReader(file))
    new = known() + [of_run(sys.argv[1], Path(run)) for run in sys.argv[2:]]
    rows = {
        (row["model"], SPLITS.index(row["split"]), str(row.get("seed", ""))): row
        for row in before + new
    }
    lines = [dict.fromkeys(COLUMNS, "") | rows[key] for key in sorted(rows)]
    for row in lines:
        row |= {key: f"{float(row[key]):.4f}" for key in NUMBERS if row[key] != ""}
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    save(draw(lines), HERE / "protocols.png")


if __name__ == "__main__":
    main()
