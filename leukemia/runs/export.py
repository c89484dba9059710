"""A finished run as one file for other programs: ONNX or TorchScript, and proof that it agrees."""

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from leukemia import __version__, disk
from leukemia.errors import UserError
from leukemia.measure.operating import HALF
from leukemia.models.network import judge_batch
from leukemia.runs.directory import sha256_of, write_json
from leukemia.runs.finished import FinishedRun, open_finished
from leukemia.runs.scoring import own_data
from leukemia.runs.shared import open_shared, write_shared

TOLERANCE: Final = 1e-4
"""Largest difference between an exported file and its run."""

_ROUNDING: Final = 1e-6  # of a squared distance in float32: nearer to the limit nobody can tell
_BATCH: Final = 16

Pixels = npt.NDArray[np.uint8]
Answers = dict[str, npt.NDArray[np.floating]]


class Exported(nn.Module):
    """A run in one module, from prepared pixels to what `leukemia.predict` says of them.

    Args:
        finished: the run; it takes one view of each image, or all of them where it is opened so.
    """

    bank: torch.Tensor
    cancers: torch.Tensor

    def __init__(self, finished: FinishedRun) -> None:
        """Store the network and what is fitted on validation."""
        super().__init__()
        if finished.known is None:
            raise UserError(f"'{finished.run.path}' takes no images: name a run of images.")
        self.network, self.tta = finished.network, bool(finished.cfg.runtime.tta)
        self.temperature = finished.calibration().temperature
        classes = finished.classes
        cancers = [i for i, name in enumerate(classes.names) if name in classes.cancers]
        self.register_buffer("bank", torch.from_numpy(finished.known.bank))
        self.register_buffer("cancers", torch.tensor(cancers if classes.has_cancer else []).long())
        self.names = ["probabilities", "embedding", "distance"]
        if classes.has_cancer:
            self.names.insert(1, "p_cancer")

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the answers called `names` of prepared pixels (N, H, W, 3), uint8, RGB.

        Returns:
            Calibrated probabilities (N, C), float64; P(cancer) (N,), float64, where a class is
            benign; embeddings (N, d), float32; out-of-distribution distances (N,), in [0, 2].
        """
        found = judge_batch(self.network, pixels.permute(0, 3, 1, 2), tta=self.tta)
        tiny = torch.finfo(torch.float64).tiny
        logs = found.probabilities.clamp_min(tiny).log()
        scores = (logs / self.temperature).softmax(1)
        length = found.embeddings.square().sum(1, keepdim=True).sqrt()
        unit = found.embeddings / length.clamp_min(torch.finfo(torch.float32).tiny)
        nearest = (unit @ self.bank.T).amax(1).double()
        answers = [scores, found.embeddings, (2 - 2 * nearest).clamp_min(0).sqrt()]
        if len(self.cancers):
            answers.insert(1, scores[:, self.cancers].sum(1))
        return tuple(answers)


def open_exact(path: Path, *, trust: bool = False) -> FinishedRun:
    """Open a run to be exported: in float32 on the CPU, one view an image, as `predict` does.

    Raises:
        UserError: see `open_finished`.
    """
    asked = {"accelerator": "cpu", "precision": "32-true", "tta": False, "progress": False}
    finished = open_finished(path, trust=trust, **asked)
    finished.network.to(memory_format=torch.contiguous_format)
    return finished


def describe(finished: FinishedRun) -> dict[str, Any]:
    """Return what a user of the file must know beside it, as plain values."""
    calibration, classes, cfg = finished.calibration(), finished.classes, finished.cfg
    assert finished.known is not None
    outside = finished.preprocess.describe() if hasattr(finished.preprocess, "describe") else None
    limit = finished.known.limit
    return {
        "classes": list(classes.names),
        "benign": list(classes.benigns),
        "threshold": calibration.threshold,
        "confidence": calibration.confidence,
        "temperature": calibration.temperature,
        "ood_limit": limit if np.isfinite(limit) else None,
        "image_size": int(cfg.crop.size),
        "input": "pixels: uint8, RGB, (N, H, W, 3), prepared as said under 'outside'",
        "outside": outside or {key: _plain(cfg[key]) for key in ("stain", "mask", "crop")},
        "version": __version__,
        "license": "MIT",
        "training": sha256_of(finished.run.checkpoints / "best.ckpt"),
        "note": "Research software, no diagnosis.",
    }


def _plain(node: Any) -> Any:  # noqa: ANN401 - settings of any kind
    from omegaconf import OmegaConf

    return OmegaConf.to_container(node, resolve=True)


def reference(finished: FinishedRun, pixels: Pixels) -> Answers:
    """Return what the run itself says of prepared pixels (N, H, W, 3), under the names exported."""
    from leukemia.measure.calibration import apply_temperature
    from leukemia.measure.predictions import cancer_probability

    with torch.inference_mode():
        inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        embedding = judge_batch(finished.network, inputs).embeddings.numpy()
    judged = finished.judge(pixels)
    scores = apply_temperature(judged[:, :-1], finished.calibration().temperature)
    found: Answers = {"probabilities": scores, "embedding": embedding, "distance": judged[:, -1]}
    if finished.classes.has_cancer:
        found["p_cancer"] = cancer_probability(scores, finished.classes)
    return found


def compare(
    finished: FinishedRun, answer: Callable[[Pixels], Answers], root: str | None = None
) -> dict[str, Any]:
    """Return how an exported file differs from its run on the run's test images.

    An embedding's difference is a share of its length, and a distance's is that of its square:
    the root would enlarge the rounding of float32 near 0.

    Args:
        finished: the run, as `open_exact` opens it.
        answer: prepared pixels to what the file says.
        root: where the images are now.

    Raises:
        UserError: the difference is above `TOLERANCE`, or a decision is another.
    """
    data = own_data(finished, root)
    part = "test" if len(data.parts.get("test", ())) else "val"
    rows, array = data.parts[part], data.array
    assert array is not None
    largest: dict[str, float] = {}
    changed = 0
    for start in range(0, len(rows), _BATCH):
        pixels = np.ascontiguousarray(array[rows[start : start + _BATCH]]).astype(np.uint8)
        wanted, found = reference(finished, pixels), answer(pixels)
        for name, values in wanted.items():
            gap = _gap(name, np.asarray(found[name], np.float64), values.astype(np.float64))
            largest[name] = max(largest.get(name, 0.0), gap)
        changed += int((_decisions(finished, wanted) != _decisions(finished, found)).sum())
    figures = {"part": part, "images": len(rows), "largest": largest, "changed": changed}
    # Written so that nan fails too.
    if changed or not all(gap <= TOLERANCE for gap in largest.values()):
        told = ", ".join(f"{name} {gap:.1e}" for name, gap in largest.items())
        raise UserError(
            f"The exported file differs from '{finished.run.path}' on its {len(rows)} images of "
            f"{part} ({told}; {changed} decisions changed; at most {TOLERANCE:g} and 0): it was "
            f"not kept. Try another format."
        )
    return figures


def _gap(name: str, found: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]) -> float:
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    if name == "distance":
        found, wanted = found**2, wanted**2
    if name == "embedding":
        length = np.maximum(np.linalg.norm(wanted, axis=1, keepdims=True), 1e-12)
        found, wanted = found / length, wanted / length
    return float(np.abs(found - wanted).max())


def _decisions(finished: FinishedRun, found: Answers) -> npt.NDArray[np.float64]:
    """Return (N, 5): class, called cancer by threshold and by half, uncertain, strange."""
    calibration, known = finished.calibration(), finished.known
    scores = np.asarray(found["probabilities"], np.float64)
    assert known is not None
    cancer = np.asarray(found.get("p_cancer", np.zeros(len(scores))))
    threshold = HALF if calibration.threshold is None else calibration.threshold
    strange = np.asarray(found["distance"], np.float64) ** 2 > known.limit**2 + _ROUNDING
    unsure = calibration.uncertain(scores, finished.classes)
    columns = (scores.argmax(1), cancer >= threshold, cancer >= HALF, unsure, strange)
    return np.column_stack(columns).astype(np.float64)


def export(
    finished: FinishedRun, form: str, output: Path, root: str | None = None
) -> dict[str, Any]:
    """Write a run as a file or folder, verified; nothing is left where that fails.

    Args:
        finished: the run, as `open_exact` opens it.
        form: ``onnx``, ``torchscript`` or ``hf``.
        output: what to write; ``export.json`` comes beside it, into the folder of ``hf``.
        root: where the run's images are now.

    Returns:
        The content of ``export.json``.

    Raises:
        UserError: an extra is not installed, or the file does not agree with the run.
    """
    make, answers = FORMS[form]
    about = describe(finished)
    with disk.building(output.parent) as beside:
        make(finished, beside, about)
        figures = compare(finished, answers(beside), root)
        content = {"format": form, "file": output.name, "verified": figures, **about}
        if beside.is_dir():
            write_json(beside / "export.json", content)
            beside.rename(output)
        else:
            beside.rename(output)
            write_json(output.parent / "export.json", content)
    return content


def _example(finished: FinishedRun) -> torch.Tensor:
    size = int(finished.cfg.crop.size)
    return torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)


def _make_onnx(finished: FinishedRun, path: Path, about: dict[str, Any]) -> None:
    try:
        import onnx
        import onnxruntime  # noqa: F401 - it verifies the file
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise UserError(
            f"format=onnx needs an extra ({error.name}): pip install 'leukemia[export]'."
        ) from error
    module = Exported(finished).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's, on its own deprecated parts
        program = torch.onnx.export(
            module,
            (_example(finished),),
            input_names=["pixels"],
            output_names=module.names,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    texts = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()
    }
    onnx.helper.set_model_props(model, texts)
    disk.write_bytes(path, model.SerializeToString())


def _answers_onnx(path: Path) -> Callable[[Pixels], Answers]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda pixels: dict(zip(names, session.run(None, {"pixels": pixels}), strict=True))


def _make_torchscript(finished: FinishedRun, path: Path, about: dict[str, Any]) -> None:
    module = Exported(finished).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's, on constants that a trace keeps
        traced: Any = torch.jit.trace(  # type: ignore[no-untyped-call]
            module, (_example(finished),), check_trace=False
        )
    buffer = io.BytesIO()
    extra = {"about.json": json.dumps({**about, "outputs": module.names})}
    torch.jit.save(traced, buffer, _extra_files=extra)
    disk.write_bytes(path, buffer.getvalue())


def _answers_torchscript(path: Path) -> Callable[[Pixels], Answers]:
    extra = {"about.json": ""}
    module = torch.jit.load(str(path), _extra_files=extra)  # type: ignore[no-untyped-call]
    names = json.loads(extra["about.json"])["outputs"]

    def answer(pixels: Pixels) -> Answers:
        with torch.inference_mode():
            found = module(torch.from_numpy(pixels))
        return {name: value.numpy() for name, value in zip(names, found, strict=True)}

    return answer


def _answers_shared(path: Path) -> Callable[[Pixels], Answers]:
    wanted = {"accelerator": "cpu", "precision": "32-true", "tta": False, "progress": False}
    opened = open_shared(path, trust=True, **wanted)
    return lambda pixels: reference(opened, pixels)


FORMS: Final[dict[str, tuple[Any, Any]]] = {
    "onnx": (_make_onnx, _answers_onnx),
    "torchscript": (_make_torchscript, _answers_torchscript),
    "hf": (write_shared, _answers_shared),
}
"""By format: what writes it, and what answers from it."""
