"""The LightningModule that trains any network of ours: it assembles and computes nothing."""

from collections.abc import Callable, Iterable, Sequence

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric
from torchmetrics.classification import BinaryRecall, MulticlassAccuracy

from leukemia.models.loss import is_cancer, terms_of
from leukemia.models.network import Network, Outputs, judge_batch

Batch = tuple[torch.Tensor, torch.Tensor]


class Classifier(L.LightningModule):
    """Trains a network under the dual loss (paper section 5.3.1).

    ``Classifier.load_from_checkpoint(path, network=..., loss=...)`` gives back what a Trainer
    saved: its weights, n_classes and the other plain settings are in the file. The modules are
    not, as to unpickle a file would execute it: they are handed over, new.

    Args:
        network: inputs of a batch, raw images (N, 3, H, W) in 0..255, to logits (N, C).
        loss: logits and labels to the loss, or to a named tuple of ``loss`` and its terms.
        optimizer: makes the optimizer from named parameters.
        schedule: makes the scheduler from the optimizer and the number of steps; stepped
            after every optimizer step. ``None`` leaves the rate as it is.
        n_classes: C.
        benign: labels of the classes that are not cancer; none where there is no cancer.
        seed: with the step, fixes dropout; a resumed run so draws what it would have drawn.
        tta: average probabilities over the eight flips and quarter turns when predicting.
        channels_last: hand images to the network in that memory format.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer] | None = None,
        schedule: Callable[[Optimizer, int], LRScheduler] | None = None,
        *,
        n_classes: int = 4,
        benign: Sequence[int] = (0,),
        seed: int = 0,
        tta: bool = False,
        channels_last: bool = True,
    ) -> None:
        """Store the parts."""
        super().__init__()
        plain = ("n_classes", "benign", "seed", "tta", "channels_last")
        self.save_hyperparameters(*plain, logger=False)
        self.network, self.loss, self.benign = network, loss, tuple(benign)
        self.optimizer, self.schedule = optimizer, schedule
        self.seed, self.tta, self.channels_last = seed, tta, channels_last
        self.accuracy = MulticlassAccuracy(n_classes, average="micro")
        self.cancer_recall = BinaryRecall()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, C)."""
        if self.channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        logits: torch.Tensor = self.network(inputs)
        return logits

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout by step.

        Not by epoch: loaders draw from the same generator, and a resumed run makes its first
        loader at another moment.
        """
        seed = self.seed * 1_000_003 + self.global_step
        if self.device.type == "cpu":
            # Without the other devices, for which each call notes its traceback.
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def _step(self, batch: Batch, part: str) -> tuple[torch.Tensor, torch.Tensor]:
        inputs, labels = batch
        logits = self(inputs)
        terms = terms_of(self.loss(logits, labels))
        if part != "train" and "nll" not in terms:  # by which weights are chosen
            terms["nll"] = cross_entropy(logits.float(), labels)
        mass = getattr(self.loss, "mass", len)(labels)
        self.log_dict(
            {f"{part}_{name}": value for name, value in terms.items()},
            on_step=False,
            on_epoch=True,
            batch_size=mass,
            sync_dist=True,
        )
        return terms["loss"], logits

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Return the loss of a batch."""
        return self._step(batch, "train")[0]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log loss and accuracy, and cancer recall where a class is benign."""
        self._measure(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log loss and accuracy, and cancer recall where a class is benign."""
        self._measure(batch, "test")

    def _measure(self, batch: Batch, part: str) -> None:
        _, logits = self._step(batch, part)
        benign, labels = self.benign, batch[1]
        self.accuracy(logits, labels)
        logged: dict[str, Metric] = {f"{part}_accuracy": self.accuracy}
        if benign:
            self.cancer_recall(is_cancer(logits.argmax(1), benign), is_cancer(labels, benign))
            logged[f"{part}_cancer_recall"] = self.cancer_recall
        self.log_dict(logged, on_step=False, on_epoch=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> Outputs:
        """Return what a whole network makes of a batch."""
        network = self.network
        if not isinstance(network, Network):  # its logits stand for embeddings too
            network = Network(nn.Identity(), network, nn.Identity())
        return judge_batch(network, batch[0], tta=self.tta, channels_last=self.channels_last)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer and the schedule over all steps of the fit."""
        if self.optimizer is None:
            raise RuntimeError(
                "Expected an optimizer to train with, but got none: Classifier(..., optimizer=...)."
            )
        optimizer = self.optimizer(self.network.named_parameters())
        if self.schedule is None:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.schedule(optimizer, steps), "interval": "step"},
        }
