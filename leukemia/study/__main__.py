"""Rebuild table, figures and report of a study: ``python -m leukemia.study dir=runs/<study>``."""

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from leukemia import cli
from leukemia.disk import check_writable
from leukemia.errors import UserError

if TYPE_CHECKING:
    from leukemia.study.record import Study


def main() -> None:
    """Run the command line."""
    cli.run_verb(study, "study", each="study")


def study(cfg: DictConfig) -> None:
    """Read the study's folder as it is now, also while it runs, and write what it leaves."""
    if cfg.dir is None:
        raise UserError("Expected dir=<folder of a study>, such as dir=runs/lambda_grid.")
    from leukemia.study.page import write_study
    from leukemia.study.record import DONE, read_study

    found = read_study(Path(cfg.dir))
    check_writable(found.path, "Its table and report are written there: copy the study elsewhere.")
    write_study(found)
    print(
        f"{len(found.with_status(DONE))} of {len(found.trials)} trials are done.\n"
        f"  table   {found.path / 'trials.csv'}\n  report  {found.path / 'report.html'}"
    )
    if cfg.dashboard is not None:
        _make_dashboard(found, str(cfg.dashboard))


def _make_dashboard(found: "Study", where: str) -> None:
    """Write ``dashboard.json``, and make the W&B workspace that it describes when online."""
    from leukemia.runs.directory import open_run, write_json
    from leukemia.study import dashboard

    begun = next((trial.path for trial in found.trials if trial.status != "waiting"), None)
    if begun is None or not (begun / "config.yaml").is_file():
        raise UserError(f"No trial of '{found.path}' has begun: a dashboard has none to show.")
    _, cfg = open_run(begun, trust=True)
    spec = dashboard.describe(
        OmegaConf.select(cfg, "logger.wandb.group") or found.name,
        [_single(cfg, key) for key in found.varied],
        metric=found.rule.metric,
        # Of a trial that is begun; an empty list is none either.
        has_cancer=OmegaConf.select(cfg, "data.classes.benign", default="") not in (None, []),
    )
    path = found.path / "dashboard.json"
    write_json(path, spec)
    entity, _, project = where.rpartition("/")
    address = dashboard.publish(spec, project=project, entity=entity or None)
    print(
        f"  dashboard {address or path}"
        + ("" if address else " (W&B is offline: after `wandb login` the same command makes it)")
    )


def _single(cfg: DictConfig, key: str) -> str:
    """Return where a run's settings hold the one value of a choice: ``model.name``."""
    for name in (key, f"model.{key}"):
        if (node := OmegaConf.select(cfg, name)) is not None:
            keys = node if OmegaConf.is_dict(node) else ()
            return next((f"{name}.{key}" for key in ("name", "_target_") if key in keys), name)
    return key


if __name__ == "__main__":
    main()
