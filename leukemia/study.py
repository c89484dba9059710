"""Rebuild table, figures and report of a study: ``python -m leukemia.study dir=runs/<study>``."""

from pathlib import Path

from omegaconf import DictConfig

from leukemia import cli
from leukemia.errors import UserError


def main() -> None:
    """Run the command line."""
    cli.run_verb(study, "study")


def study(cfg: DictConfig) -> None:
    """Read the study's folder as it is now, also while it runs, and write what it leaves."""
    if cfg.dir is None:
        raise UserError("Expected dir=<folder of a study>, such as dir=runs/lambda_grid.")
    from leukemia.report.study import DONE, read_study
    from leukemia.report.study_page import write_study

    found = read_study(Path(cfg.dir))
    write_study(found)
    print(
        f"{len(found.with_status(DONE))} of {len(found.trials)} trials are done.\n"
        f"  table   {found.path / 'trials.csv'}\n  report  {found.path / 'report.html'}"
    )


if __name__ == "__main__":
    main()
