"""The run that all of this is done to: small, and with every step that a run can have."""

from pathlib import Path

from campaign.warm import Command, Ended, run

# Painted, cached, embedded, both stages, and the last one fitted again. The network has 0.3
# million weights where ResNet18 has 11, and batch normalisation like it.
TRAINING = (
    "data=synthetic",
    "data.per_class=12",
    "experiment=finetuned",
    "mask=none",
    "model.backbone.name=shufflenet_v2_x0_5",
    "model.backbone.weights=null",
    "crop.size=64",
    "stages=[head,finetune]",
    "stage.head.epochs=4",
    "stage.head.batch_size=8",
    "stage.finetune.epochs=3",
    "stage.finetune.batch_size=8",
    "stage.finetune.refit=true",
    "report.map=null",
    "runtime.progress=false",
    "runtime.threads=1",
    "runtime.save_every=0",
)


def train(home: Path, *words: str) -> Command:
    """Return the command that trains into ``run`` of a folder, with the cache beside it."""
    return Command(
        "train", (*TRAINING, f"hydra.run.dir={home / 'run'}", *words), home, home / "cache"
    )


def resume(home: Path) -> Command:
    """Return the command that goes on with it."""
    return Command("train", (f"resume={home / 'run'}",), home, home / "cache")


def go_on(home: Path) -> Command:
    """Return what a user types after a kill: resume, or the same again where nothing stands."""
    return resume(home) if (home / "run" / "config.yaml").is_file() else train(home)


def phase(home: Path) -> str:
    """Say how far a run has come, by what stands on the disk."""
    folder, cache = home / "run", home / "cache"
    if (folder / "DONE").is_file():
        return "after DONE"
    if (folder / "report.html").is_file():
        return "model card, end"
    if (folder / "predictions" / "val.csv").is_file():
        return "figures, report"
    if (folder / "history.csv").is_file():
        last = (folder / "history.csv").read_text(encoding="utf-8").splitlines()[-1]
        return last.partition(",")[0]
    if (folder / "config.yaml").is_file():
        return "split, embedding"
    if any(cache.glob("pixels-*")):
        return "network"
    if any(cache.glob("manifest-*")):
        return "pixel cache"
    if any(path.name.startswith("synthetic-") for path in cache.glob("*")):
        return "reading images"
    return "painting"


def made(home: Path) -> Ended:
    """Train in a new folder, uninterrupted.

    Raises:
        RuntimeError: that failed already.
    """
    home.mkdir(parents=True)
    ended = run(train(home))
    if ended.status:
        raise RuntimeError(f"The uninterrupted run fails:\n{ended.out}\n{ended.err}")
    return ended
