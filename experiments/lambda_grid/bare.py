"""Times a bare step of the published head at batch 256: `python experiments/lambda_grid/bare.py`.

What a grid of T trainings of E epochs would cost at least is T x E x 5 of these steps.
"""

import time

import hydra
import torch

from leukemia.build.model import build_loss
from leukemia.cli import CONF
from leukemia.model.hardware import resolve_precision
from leukemia.model.head import make_head
from leukemia.model.schedule import make_optimizer

STEPS = 40


def main() -> None:
    """Print milliseconds a step, in the precision that suits the machine."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("train", ["experiment=paper"])
    half = resolve_precision("auto", "cpu") == "bf16-mixed"
    settings = cfg.model.head
    head = make_head(settings.name, 512, 4, tuple(settings.widths), settings.dropout).train()
    loss = build_loss(cfg)
    optimizer = make_optimizer(head.named_parameters(), **cfg.stage.head.optimizer)
    inputs, labels = torch.randn(1200, 512), torch.randint(0, 4, (1200,))
    for step in range(STEPS + 3):
        if step == 3:
            began = time.perf_counter()
        rows = torch.randint(0, 1200, (256,))
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            value = loss(head(inputs[rows]), labels[rows]).loss
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
    milliseconds = (time.perf_counter() - began) / STEPS * 1000
    print(
        f"{milliseconds:.0f} ms a step, {torch.get_num_threads()} threads, "
        f"{'bfloat16' if half else 'float32'}"
    )


if __name__ == "__main__":
    main()
