"""What another person brings: nothing here is known to the package."""

import json
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Cosine(nn.Module):
    """A head: cosines of the embedding with a direction for each class."""

    def __init__(self, in_dim: int, n_classes: int, scale: float = 10.0) -> None:
        super().__init__()
        self.scale = scale
        self.directions = nn.Parameter(torch.randn(n_classes, in_dim))

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        unit = nn.functional.normalize
        return self.scale * unit(embeddings) @ unit(self.directions).T


class Focal(nn.Module):
    """A loss."""

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        log_p = logits.log_softmax(1).gather(1, labels[:, None])[:, 0]
        return -((1 - log_p.exp()) ** self.gamma * log_p).mean()


class Notes(Callback):
    """A callback that notes every epoch in a file."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        with self.path.open("a") as file:
            file.write(f"{trainer.current_epoch}\n")
        pl_module.log("noted", float(trainer.current_epoch))


class Lines(Logger):
    """A logger that writes a line for whatever is logged."""

    def __init__(self, save_dir: str) -> None:
        super().__init__()
        self.path = Path(save_dir) / "lines.txt"

    @property
    def name(self) -> str:
        return "lines"

    @property
    def version(self) -> str:
        return "0"

    def log_hyperparams(self, params: object) -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        with self.path.open("a") as file:
            file.write(f"{step} {sorted(metrics)}\n")


class Tiny(L.LightningModule):
    """A LightningModule with a network, an optimizer and figures of its own."""

    def __init__(self, n_classes: int, width: int = 8, lr: float = 0.01) -> None:
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(
            nn.Conv2d(3, width, 5, stride=4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * width, n_classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images.float() / 255)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> None:
        self.log("val_nll", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(self.parameters(), lr=self.lr)


class Discs(L.LightningDataModule):
    """A data module: coloured discs, drawn here."""

    def __init__(self, per_class: int = 12, seed: int = 0) -> None:
        super().__init__()
        self.per_class, self.seed = per_class, seed

    def setup(self, stage: str | None = None) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        self.parts = {}
        for part in ("train", "val", "test"):
            labels = torch.arange(3).repeat_interleave(self.per_class)
            images = torch.randint(0, 120, (len(labels), 3, 32, 32), generator=generator)
            images[torch.arange(len(labels)), labels, 8:24, 8:24] += 120
            self.parts[part] = TensorDataset(images.to(torch.uint8), labels)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.parts["train"], batch_size=6, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.parts["val"], batch_size=6)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.parts["test"], batch_size=6)


class Seen(Callback):
    """A callback that writes down what the Trainer did."""

    def __init__(self, path: str) -> None:
        self.path, self.validated, self.sane = Path(path), 0, 0
        self.before: torch.Tensor | None = None

    def on_sanity_check_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.sane, self.validated = self.validated, 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.anomaly = torch.is_anomaly_enabled()
        self.before = nn.utils.parameters_to_vector(pl_module.parameters()).detach().clone()

    def on_validation_batch_end(self, *_: object) -> None:
        self.validated += 1

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        after = nn.utils.parameters_to_vector(pl_module.parameters()).detach()
        seen = {
            "steps": trainer.global_step,
            "epochs": trainer.current_epoch,
            "validated": self.validated,
            "sane": self.sane,
            "moved": float((after - self.before).abs().max()),
            "anomaly": self.anomaly,
            "profiler": type(trainer.profiler).__name__,
            "logged_every": trainer.log_every_n_steps,
        }
        self.path.write_text(json.dumps(seen))
