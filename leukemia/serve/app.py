"""The answers behind the page, as JSON: what a run makes of the images that it is sent."""

import hashlib
import io
from pathlib import Path
from threading import Lock
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, File, Form, HTTPException, Request, Response, UploadFile
from fastapi.responses import FileResponse, JSONResponse
from numpy.typing import NDArray
from pydantic import BaseModel
from starlette.middleware.base import RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware

from leukemia import __version__
from leukemia.data.files.images import BadImage, decode_image
from leukemia.disk import write_bytes
from leukemia.errors import UserError
from leukemia.runs.plain import read_json
from leukemia.runs.predictor import Predictor

PAGE = Path(__file__).parent / "page"
MOST_FILES, MOST_BYTES = 64, 64 * 2**20
"""Of one request: images, and bytes of each."""
MOST_TOTAL = 256 * 2**20
NOTICE = "Research software, no diagnostic device."
_TYPES = {"index.html": "text/html", "style.css": "text/css", "page.js": "text/javascript"}


class Answer(BaseModel):
    """What the run says of one image, or why it cannot."""

    file: str
    error: str | None = None
    prediction: str | None = None
    probabilities: dict[str, float] | None = None
    p_cancer: float | None = None
    certain: bool | None = None
    ood: bool | None = None
    ood_score: float | None = None
    decision: str | None = None
    why: str | None = None


class Answers(BaseModel):
    """One answer for each image, in the order that they came in."""

    images: list[Answer]
    notice: str = NOTICE


class About(BaseModel):
    """What answers: the run, and the limits that its decisions go by."""

    run: str
    version: str
    classes: list[str]
    benign: list[str]
    threshold: float | None
    confidence: float
    ood_limit: float | None
    figures: dict[str, dict[str, float]]
    notice: str = NOTICE


def make_app(predictor: Predictor, *, hosts: list[str], keep: Path | None = None) -> FastAPI:
    """Return the application.

    Args:
        predictor: the run. One request computes at a time: torch's threads are all cores.
        hosts: names that it may be called by; ``["*"]`` for any.
        keep: a folder for what is sent, by its hash; ``None`` keeps nothing.
    """
    # FastAPI's viewer of the schema comes from another host.
    app = FastAPI(
        title="leukemia", version=__version__, description=NOTICE, docs_url=None, redoc_url=None
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    turn = Lock()

    @app.middleware("http")
    async def guard(request: Request, call_next: RequestResponseEndpoint) -> Response:
        length = request.headers.get("content-length", "")
        if request.method == "POST" and not length.isdigit():
            return _said(411, "A request has to say its length.")
        if length.isdigit() and int(length) > MOST_TOTAL:
            return _said(413, f"A request may hold {MOST_TOTAL >> 20} MB: send fewer images.")
        answer = await call_next(request)
        answer.headers["Content-Security-Policy"] = (
            "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'"
            if request.url.path in ("/", "/style.css", "/page.js")
            else "frame-ancestors 'none'"
        )
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Cache-Control"] = "no-store"
        return answer

    @app.exception_handler(UserError)
    async def told(request: Request, error: UserError) -> Response:
        return _said(422, str(error))

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "version": __version__}

    @app.get("/model")
    def model() -> About:
        return _about(predictor)

    @app.post("/predict", responses={422: {"model": Answers}})
    def predict(files: Annotated[list[UploadFile], File()], response: Response) -> Answers:
        if len(files) > MOST_FILES:
            raise HTTPException(413, f"A request may hold {MOST_FILES} images: send fewer.")
        answers: list[Answer | None] = [None] * len(files)
        names, images, places = [], [], []
        for place, file in enumerate(files):
            name = file.filename or f"image {place + 1}"
            try:
                images.append(_decoded(file, keep))
            except BadImage as error:
                answers[place] = Answer(file=name, error=f"The file cannot be used: {error}.")
            else:
                names.append(name)
                places.append(place)
        if images:
            # By place, as names may come twice.
            with turn:
                scores, bad = predictor.score([str(place) for place in places], images)
            for row in scores.rows():
                place = int(row["file"])
                answers[place] = _answer(files[place].filename or f"image {place + 1}", row)
            for one in bad:
                place = int(one.path)
                name = files[place].filename or f"image {place + 1}"
                answers[place] = Answer(file=name, error=f"The file cannot be used: {one.reason}.")
        found = [answer for answer in answers if answer is not None]
        if all(answer.error for answer in found):
            response.status_code = 422
        return Answers(images=found)

    @app.post("/explain", response_class=Response, responses={200: {"content": {"image/png": {}}}})
    def explain(
        file: Annotated[UploadFile, File()], target: Annotated[str, Form()] = "predicted"
    ) -> Response:
        try:
            image = _decoded(file, None)
        except BadImage as error:
            raise UserError(f"The file cannot be used: {error}.") from error
        with turn:
            figure = predictor.explain(image, target)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=110)
        return Response(buffer.getvalue(), media_type="image/png")

    @app.get("/", include_in_schema=False)
    @app.get("/{name}", include_in_schema=False)
    def page(name: str = "index.html") -> Response:
        if name not in _TYPES:
            return _said(404, "There is no such page.")
        return FileResponse(PAGE / name, media_type=_TYPES[name])

    return app


def _said(status: int, text: str) -> Response:
    return JSONResponse({"detail": text}, status)


def _decoded(file: UploadFile, keep: Path | None) -> NDArray[np.uint8]:
    """Return the pixels of a file that was sent.

    Raises:
        BadImage: it is none, or too large.
    """
    data = file.file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise BadImage(f"it has more than {MOST_BYTES >> 20} MB")
    pixels = decode_image(data)
    if keep is not None:
        write_bytes(keep / hashlib.sha256(data).hexdigest(), data)
    return pixels


def _answer(name: str, row: dict[str, Any]) -> Answer:
    given = {key: row[key] for key in Answer.model_fields if key in row and key != "file"}
    inner = ("p_cancer",)
    probabilities = {
        key.removeprefix("p_"): value
        for key, value in row.items()
        if key.startswith("p_") and not key.endswith("_if_cancer") and key not in inner
    }
    return Answer(file=name, probabilities=probabilities, **given)


def _about(predictor: Predictor) -> About:
    finished = predictor.finished
    known, calibration = finished.known, predictor.calibration
    metrics = read_json(finished.run.metrics) if finished.run.metrics.is_file() else {}
    names = ("accuracy", "cancer_recall", "cancer_specificity", "n")
    figures = {
        part: {key: float(values[key]) for key in names if isinstance(values.get(key), int | float)}
        for part, values in metrics.items()
        if isinstance(values, dict)
    }
    limit = None if known is None or not np.isfinite(known.limit) else float(known.limit)
    return About(
        run=finished.run.path.name,
        version=__version__,
        classes=list(predictor.classes.names),
        benign=[predictor.classes.names[label] for label in predictor.classes.benign_labels],
        threshold=calibration.threshold,
        confidence=calibration.confidence,
        ood_limit=limit,
        figures=figures,
    )
