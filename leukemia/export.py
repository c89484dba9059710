"""Write a finished run as a file for other programs: ``python -m leukemia.export``."""

from pathlib import Path

from omegaconf import DictConfig

from leukemia import cli
from leukemia.disk import check_writable
from leukemia.errors import UserError, check_choice
from leukemia.runs.directory import open_run


def main() -> None:
    """Run the command line."""
    cli.run_verb(export, "export", each="run")


def export(cfg: DictConfig) -> None:
    """Export the run of ``run`` to ``output``, verified against the run itself."""
    for key in ("run", "output"):
        if cfg[key] is None:
            raise UserError(f"Expected {key}=..., but got none: --help shows how.")
    check_choice("format", cfg.format, ("onnx", "torchscript", "hf"))
    output = Path(cfg.output).expanduser()
    taken = [path for path in (output, output.parent / "export.json") if path.exists()]
    if taken:
        raise UserError(f"'{taken[0]}' exists: name an output in another folder.")
    check_writable(output.parent, "Name another output.")
    path = Path(cfg.run).expanduser()
    open_run(path, trust=True)  # before torch is waited for

    from leukemia.runs.export import export as write
    from leukemia.runs.export import open_exact

    done = write(open_exact(path, trust=cfg.trust), cfg.format, output, cfg.data.root)
    figures = done["verified"]
    print(
        f"Written to {output}; {figures['images']} images of {figures['part']} agree with the run: "
        f"largest difference of a probability {figures['largest']['probabilities']:.1e}, "
        f"{figures['changed']} decisions changed."
    )
    print("Research software, no diagnosis.")


if __name__ == "__main__":
    main()
