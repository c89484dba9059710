"""A run that is tracked without training: `python -m tests.tracking.process <folder> 3 kill`."""

import os
import signal
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from leukemia.report.curves import read_history, write_history
from leukemia.runs.directory import RunDir
from leukemia.tracking.loggers import check_loggers, make_trackers


def settings(*, wandb: bool = True, tensorboard: bool = False, **changes: object) -> DictConfig:
    """What trackers read of a run's settings; `changes` are of those of logger=wandb."""
    own = {
        "_target_": "leukemia.tracking.wandb.WandbTracker",
        "project": "p",
        "group": None,
        "tags": ["mine"],
        "mistakes": 3,
        "artifacts": False,
        "timeout": 20,
    }
    return OmegaConf.create(
        {
            "seed": 0,
            "stages": ["head", "finetune"],
            "data": {"name": "painted"},
            "model": {"name": "tiny"},
            "logger": {
                "wandb": {**own, **changes} if wandb else None,
                "tensorboard": {"_target_": "leukemia.tracking.loggers.TensorBoardTracker"}
                if tensorboard
                else None,
            },
        }
    )


def rows(epochs: int) -> list[dict[str, object]]:
    """A history: two epochs of the stage head, then the other stage."""
    stages = ["head"] * 2 + ["finetune"] * epochs
    return [
        {"stage": stage, "epoch": i, "lr": 0.1, "val_loss": 1 / (i + 1)}
        for i, stage in enumerate(stages[:epochs])
    ]


def main(folder: Path, epochs: int, end: str) -> None:
    run, cfg = RunDir(folder), settings(tensorboard=True)
    check_loggers(cfg)
    folder.mkdir(exist_ok=True)
    known = len(read_history(run.history)) if run.history.is_file() else 0
    with make_trackers(cfg, run) as trackers:
        # As a run that goes on does, the last epoch is done again.
        for n in range(max(known, 1), epochs + 1):
            write_history(run.history, rows(n))
            trackers.log(rows(n))
        if end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if end == "interrupt":
            raise KeyboardInterrupt


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
