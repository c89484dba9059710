"""A run as a folder in Hugging Face's layout: written, and opened to predict with."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import torch
from omegaconf import OmegaConf

from leukemia.compose.network import build_hardware, build_network, on_this_machine
from leukemia.disk import write_text
from leukemia.errors import UserError
from leukemia.measure.calibration import Calibration
from leukemia.measure.ood import Known
from leukemia.runs.directory import RunDir, open_run, write_json
from leukemia.runs.finished import FinishedRun
from leukemia.runs.plain import check_inside, read_json, read_settings
from leukemia.settings.objects import check_trusted
from leukemia.settings.settled import PLACES

WEIGHTS: Final = "model.safetensors"
_BANK: Final = "ood.bank"
_NETWORK: Final = "network."


@dataclass(frozen=True, kw_only=True)
class SharedRun(FinishedRun):
    """A finished run that has left its directory: what it was fitted to came with its weights.

    Args:
        stored: its calibration.
        bank: what tells it apart what is out of distribution.
    """

    stored: Calibration
    bank: Known

    @property
    def known(self) -> Known:
        """What the run knows, to tell what is out of distribution."""
        return self.bank

    def calibration(self, sensitivity: float | None = None) -> Calibration:
        """Return the calibration that came with the run.

        Raises:
            UserError: another sensitivity is wanted, for which the images are not here.
        """
        if sensitivity not in (None, self.stored.sensitivity):
            raise UserError(
                f"'{self.run.path}' was calibrated for a sensitivity of {self.stored.sensitivity}, "
                f"but {sensitivity} is wanted: use the run that it was exported from."
            )
        return self.stored


def is_shared(path: Path) -> bool:
    """Whether a folder is what `write_shared` writes."""
    return (path / WEIGHTS).is_file() and not (path / "config.yaml").exists()


def write_shared(finished: FinishedRun, folder: Path, about: dict[str, Any]) -> None:
    """Write weights, settings with calibration, and the card with Hugging Face's block.

    Raises:
        UserError: safetensors is not installed.
    """
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise UserError(
            "format=hf needs an extra (safetensors): pip install 'leukemia[export]'."
        ) from error
    assert finished.known is not None
    folder.mkdir(parents=True)
    # Cloned, because safetensors refuses tensors that share memory, as those of layer4 do here.
    state = {
        f"{_NETWORK}{name}": value.detach().contiguous().clone()
        for name, value in finished.network.state_dict().items()
    }
    state[_BANK] = torch.from_numpy(finished.known.bank)
    save_file(state, folder / WEIGHTS)
    content = {
        "model_type": "leukemia",
        "about": about,
        "calibration": finished.calibration().to_dict(),
        "settings": _settings(finished),
    }
    write_json(folder / "config.json", content)
    names = json.dumps(about["classes"])
    block = (
        f"---\nlicense: mit\nlibrary_name: leukemia\npipeline_tag: image-classification\n"
        f"tags: [medical, blood-smear, research]\nclasses: {names}\n---\n\n"
    )
    card = finished.run.card
    text = card.read_text(encoding="utf-8") if card.is_file() else f"# {about['note']}\n"
    write_text(folder / "README.md", block + text)


def _settings(finished: FinishedRun) -> dict[str, Any]:
    """Return the run's settings without the places on the machine that trained it."""
    cfg = finished.cfg.copy()
    # The precision of the run, not that in which the export was verified.
    OmegaConf.update(cfg, "trainer", open_run(finished.run.path, trust=True)[1].trainer)
    for key in PLACES:
        value = OmegaConf.select(cfg, key)
        if isinstance(value, str):  # whether there were weights changes some networks
            OmegaConf.update(cfg, key, Path(value).name if key.startswith("model.") else None)
    return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))


def open_shared(path: Path, *, trust: bool = False, **asked: object) -> SharedRun:
    """Open a folder that `write_shared` wrote; see `open_finished`.

    Raises:
        UserError: a file of it is missing or is not what was written.
    """
    from safetensors.torch import load_file

    check_inside(path)
    source = path / "config.json"
    cfg, plain = read_settings(source).get("settings"), read_json(source)
    about, calibration = plain.get("about"), plain.get("calibration")
    if cfg is None or not isinstance(about, dict) or not isinstance(calibration, dict):
        raise UserError(f"'{source}' is no config of an exported run: export the run anew.")
    if not trust:
        check_trusted(cfg, str(path))
    OmegaConf.set_struct(cfg, True)
    try:
        state = load_file(path / WEIGHTS)
        bank = state.pop(_BANK).numpy()
        cfg = on_this_machine(cfg, asked)
        hardware = build_hardware(cfg)
        network, _ = build_network(cfg, None, load=False)
        network.load_state_dict({key.removeprefix(_NETWORK): one for key, one in state.items()})
    except UserError:
        raise
    # Damaged weights and settings that nobody trained with make torch raise nearly anything.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"'{path}' cannot be used: {reason}. Export the run anew.") from error
    network.to(torch.device(hardware.accelerator)).eval()
    if cfg.runtime.channels_last:
        network.to(memory_format=torch.channels_last)
    limit = about.get("ood_limit")
    return SharedRun(
        RunDir(path),
        cfg,
        network,
        hardware,
        stored=Calibration.from_dict(calibration, str(source)),
        bank=Known(bank, float("inf") if limit is None else float(limit)),
    )
