"""`leukemia.serve`: what it answers is what `predict` says, and nothing that is sent breaks it."""

import io
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import leukemia
from leukemia.data.synthetic import paint_smears
from tests.commands import run_here

testclient = pytest.importorskip("fastapi.testclient")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = paint_smears(tmp_path_factory.mktemp("served"), per_class=2, size=64)
    return sorted(path for path in folder.rglob("*.*") if path.suffix in (".png", ".jpg"))


@pytest.fixture(scope="module")
def client(finished: Path) -> Iterator[object]:
    from leukemia.serve.app import make_app

    app = make_app(leukemia.load(finished), hosts=["localhost"])
    with testclient.TestClient(app, base_url="http://localhost") as found:
        yield found


def sent(paths: list[Path]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (path.name, path.read_bytes())) for path in paths]


def test_its_answers_are_those_of_predict(client, finished, images):
    got = client.post("/predict", files=sent(images))
    assert got.status_code == 200
    expected = list(leukemia.load(finished).predict(images).rows())
    for answer, row in zip(got.json()["images"], expected, strict=True):
        assert answer["file"] == Path(row["file"]).name
        for key in ("prediction", "certain", "decision", "why", "ood"):
            assert answer[key] == row[key]
        assert answer["p_cancer"] == pytest.approx(row["p_cancer"], abs=1e-6)
        assert sum(answer["probabilities"].values()) == pytest.approx(1)


def test_a_bad_file_gets_one_sentence_and_the_others_their_answers(client, images):
    files = [("files", ("cut.png", images[0].read_bytes()[:50])), *sent(images[:1])]
    got = client.post("/predict", files=files)
    assert got.status_code == 200
    bad, good = got.json()["images"]
    assert bad["error"].startswith("The file cannot be used: ")
    assert bad["prediction"] is None
    assert good["error"] is None
    assert client.post("/predict", files=files[:1]).status_code == 422


def test_files_of_one_name_keep_their_own_answers(client, images):
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.full((64, 64, 3), 255, np.uint8)).save(buffer, "png")
    files = [("files", ("same", buffer.getvalue())), ("files", ("same", images[0].read_bytes()))]
    answers = client.post("/predict", files=files).json()["images"]
    assert [answer["file"] for answer in answers] == ["same", "same"]


def test_what_is_too_much_is_refused(client, images, monkeypatch):
    monkeypatch.setattr("leukemia.serve.app.MOST_FILES", 2)
    got = client.post("/predict", files=sent(images[:3]))
    assert (got.status_code, "2 images" in got.json()["detail"]) == (413, True)
    monkeypatch.setattr("leukemia.serve.app.MOST_BYTES", 10)
    got = client.post("/predict", files=sent(images[:1]))
    assert got.status_code == 422
    monkeypatch.setattr("leukemia.serve.app.MOST_TOTAL", 10)
    assert client.post("/predict", files=sent(images[:1])).status_code == 413
    assert client.post("/predict", content=iter([b"x"])).status_code == 411


def test_the_run_is_told_with_its_limits(client, finished):
    about = client.get("/model").json()
    run = leukemia.load(finished)
    assert about["classes"] == list(run.classes.names)
    assert about["threshold"] == run.calibration.threshold
    assert about["figures"]["test"]["n"] > 0
    assert client.get("/health").json()["status"] == "ok"


def test_a_heat_map_is_a_picture(client, images):
    got = client.post("/explain", files={"file": ("a.png", images[0].read_bytes())})
    assert got.status_code == 200
    assert PIL.Image.open(io.BytesIO(got.content)).format == "PNG"
    wrong = client.post(
        "/explain", files={"file": ("a.png", images[0].read_bytes())}, data={"target": "x"}
    )
    assert wrong.status_code == 422
    assert "target" in wrong.json()["detail"]


def test_the_page_is_there_and_asks_no_other_host(client):
    for name in ("", "style.css", "page.js"):
        got = client.get(f"/{name}")
        assert got.status_code == 200
        assert "http" not in got.text.replace("http-equiv", "")
        assert "default-src 'self'" in got.headers["content-security-policy"]
    assert client.get("/../app.py").status_code == 404
    assert "no diagnostic device" in client.get("/").text


def test_another_name_for_this_machine_is_refused(client):
    assert client.get("/health", headers={"host": "evil.example"}).status_code == 400


def test_eight_clients_at_once_get_the_same(client, images):
    def ask(path: Path) -> object:
        return client.post("/predict", files=sent([path])).json()["images"][0]

    alone = [ask(path) for path in images]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, images)) == alone


def test_what_is_sent_is_kept_where_that_is_asked_for_alone(finished, images, tmp_path):
    from leukemia.serve.app import make_app

    app = make_app(leukemia.load(finished), hosts=["*"], keep=tmp_path)
    testclient.TestClient(app).post("/predict", files=sent(images[:2]))
    assert sorted(file.read_bytes() for file in tmp_path.iterdir()) == sorted(
        path.read_bytes() for path in images[:2]
    )


def test_what_the_container_copies_is_there():
    lines = (Path(__file__).parent.parent / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert copied
    assert all((Path(__file__).parent.parent / name).exists() for name in copied)


def test_a_port_in_use_and_a_lost_run_are_one_line(finished, cache, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_here("serve", f"run={finished}", f"port={port}", cache=cache, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"port={port}" in done.stderr
    lost = run_here("serve", "run=nowhere", cache=cache, cwd=tmp_path)
    assert (lost.returncode, lost.stderr.count("\n")) == (2, 1)
