"""Fine-tuning that forgets little: rates by part, norms at rest, weights between two states."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.optim import Optimizer

from leukemia.data.datamodule import ArrayDataModule
from leukemia.errors import UserError, check_number
from leukemia.training.hardware import Hardware
from leukemia.training.stage import interruptible, make_trainer

State = dict[str, torch.Tensor]


def rate_factor_of(name: str, rates: Mapping[str, float]) -> float:
    """Return what a parameter's learning rate is multiplied by; 0 where it stays as it is.

    Args:
        name: of the parameter, such as ``backbone.body.maps.layer4.0.conv1.weight``.
        rates: factors by a part of the name between two dots, such as ``backbone`` or ``layer4``.
            Of several parts that the name has, the one listed last counts; with none it is 1.
    """
    parts = set(name.split("."))
    return next((rate for part, rate in reversed(list(rates.items())) if part in parts), 1.0)


def with_rates(
    make: Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer],
    rates: Mapping[str, float],
    key: str,
    params: Iterable[tuple[str, nn.Parameter]],
) -> Optimizer:
    """Return the optimizer with a learning rate of its own for each part of a network.

    What has a factor of 0 requires no gradient from then on.

    Args:
        make: named parameters to the optimizer, with one rate for all.
        rates: see `rate_factor_of`.
        key: of the setting, for errors.
        params: all named parameters.

    Raises:
        UserError: a factor below 0, a part that no parameter has, or nothing left to train.
    """
    named = list(params)
    known = {part for name, _ in named for part in name.split(".")}
    for part, rate in rates.items():
        check_number(f"{key}.{part}", rate, "a number from 0 on", lambda x: x >= 0)
        if part not in known:
            raise UserError(
                f"{key} names '{part}', but the network has no such part: it has "
                f"{', '.join(sorted(part for part in known if not part.isdigit()))}."
            )
    factors = {parameter: rate_factor_of(name, rates) for name, parameter in named}
    for parameter, factor in factors.items():
        parameter.requires_grad_(factor > 0)
    if not any(factors.values()):
        raise UserError(f"{key} leaves nothing to train: give a part a factor above 0.")
    optimizer = make(named)
    groups = [
        {**group, "params": chosen, "lr": group["lr"] * factor}
        for group in optimizer.param_groups
        for factor in sorted({factors[p] for p in group["params"]}, reverse=True)
        if (chosen := [p for p in group["params"] if factors[p] == factor])
    ]
    anew: Optimizer = type(optimizer)(groups)  # type: ignore[call-arg]  # each group has them all
    return anew


class NormsAtRest(Callback):
    """Keeps the BatchNorms of a module in eval mode: their statistics stay those of before.

    Args:
        part: its name in the network, such as ``backbone``.
    """

    def __init__(self, part: str = "backbone") -> None:
        """Store the name."""
        self.part = part

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put them into eval mode, which a validation may have undone."""
        network = pl_module.network
        assert isinstance(network, nn.Module)
        for module in network.get_submodule(self.part).modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def between(before: State, after: State, share: float) -> State:
    """Return the weights on the way from one state to another.

    Args:
        before: tensors by name.
        after: the same names and shapes.
        share: of the way, 0 to 1. Whole numbers, such as counts of batches, are those of ``after``.
    """
    return {
        name: torch.lerp(before[name], value, share) if value.is_floating_point() else value
        for name, value in after.items()
    }


def best_share(
    nll_at: Callable[[float], float], shares: Sequence[float], key: str
) -> tuple[float, dict[float, float]]:
    """Return the share with the lowest negative log-likelihood, the smallest of equals.

    Args:
        nll_at: share to negative log-likelihood on validation.
        shares: to choose from.
        key: of the setting, for errors.

    Returns:
        The share, and the figure of each.

    Raises:
        UserError: no share, or one that is not in [0, 1].
    """
    check_shares(shares, key)
    found = {float(share): nll_at(float(share)) for share in sorted(shares)}
    return min(found, key=lambda share: found[share]), found


def check_shares(shares: Sequence[float], key: str) -> None:
    """Refuse shares that are none.

    Raises:
        UserError: no share, or one that is not in [0, 1].
    """
    if not shares:
        raise UserError(f"Expected {key} to be null or shares from 0 to 1, but got none.")
    for share in shares:
        check_number(f"each of {key}", share, "in [0, 1]", lambda x: 0 <= x <= 1)


class Blend:
    """The weights that are kept of a stage: a share of the way from those before it.

    Args:
        shares: to choose from by the negative log-likelihood on validation; ``None`` keeps the
            whole way.
        network: as it is before; a copy is kept.

    Attributes:
        known: the share; ``None`` until it is chosen, or where the whole way is kept.
        figures: negative log-likelihood by share.
    """

    def __init__(self, shares: Sequence[float] | None, network: nn.Module) -> None:
        """Copy the weights, where they will be asked for."""
        self.shares = shares
        self.before: State = {}
        if shares is not None:
            self.before = {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}
        self.known: float | None = None
        self.figures: dict[str, float] = {}

    def settle(self, module: L.LightningModule, data: ArrayDataModule, hardware: Hardware) -> None:
        """Choose the share, unless it is known, and leave its weights in the module's network.

        Args:
            module: around the network, as it is after.
            data: its validation part chooses.
            hardware: where to measure.
        """
        if self.shares is None:
            return
        network = cast(nn.Module, module.network)
        network.cpu()
        after = {name: value.detach().clone() for name, value in network.state_dict().items()}
        if self.known is None:

            def nll_at(share: float) -> float:
                network.load_state_dict(between(self.before, after, share))
                trainer = make_trainer(hardware)
                with interruptible():
                    (measured,) = trainer.validate(module, data.val_dataloader(), verbose=False)
                return float(measured["val_nll"])

            self.known, found = best_share(nll_at, self.shares, "blend")
            self.figures = {f"{share:g}": nll for share, nll in found.items()}
        network.load_state_dict(between(self.before, after, self.known))
