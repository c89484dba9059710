"""A place where nobody is logged in and every touch of the network is noticed."""

import os
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb

# Python imports a module of this name first of all.
_GUARD = """
import os, socket
connect = socket.socket.connect
def guarded(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
        with open(os.environ["GUARD_LOG"], "a") as log:
            print("connect", address, file=log)
        raise OSError("no network in tests")
    return connect(self, address)
socket.socket.connect = guarded
resolve = socket.getaddrinfo
def looked_up(host, *rest, **more):
    if host not in (None, "localhost", "127.0.0.1", "::1"):
        with open(os.environ["GUARD_LOG"], "a") as log:
            print("resolve", host, file=log)
        raise OSError("no network in tests")
    return resolve(host, *rest, **more)
socket.getaddrinfo = looked_up
"""


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, log: Path) -> None:
        self.log = log
        super().__init__(("127.0.0.1", 0), _Refusal)


class _Refusal(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        asked = self.rfile.readline().decode(errors="replace").strip()
        with self.server.log.open("a") as log:  # type: ignore[attr-defined]
            print("proxy", asked, file=log)
        self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


class Network:
    """What of the network was touched: by Python itself, or by W&B's helper through a proxy.

    Args:
        changes: to the environment of the processes that are watched.
        log: one line a touch.
    """

    def __init__(self, changes: dict[str, str], log: Path) -> None:
        self.changes, self.log = changes, log

    def touched(self) -> list[str]:
        """The touches since this was asked last."""
        found = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return found


def nobody(home: Path) -> dict[str, str]:
    """Variables under which W&B finds no login and no settings."""
    folders = {f"WANDB_{name}_DIR": str(home / name) for name in ("CONFIG", "CACHE")}
    return {"HOME": str(home), "NETRC": str(home / "netrc"), **folders}


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """For processes in which nobody is logged in and the network is watched."""
    home = tmp_path_factory.mktemp("home")
    log = home / "touched.txt"
    (home / "sitecustomize.py").write_text(_GUARD)
    with _Proxy(log) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
        changes = {
            **nobody(home),
            **dict.fromkeys(names, f"http://127.0.0.1:{proxy.server_address[1]}"),
            "no_proxy": "",
            "NO_PROXY": "",
            "GUARD_LOG": str(log),
            "PYTHONPATH": os.pathsep.join([str(home), str(Path(__file__).parents[2])]),
        }
        yield Network(changes, log)
        proxy.shutdown()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A new folder, while this process itself is logged in nowhere."""
    wandb.teardown()  # it keeps the environment in which it was started
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        if name != "WANDB_ERROR_REPORTING":  # which leukemia.tracking has set
            monkeypatch.delenv(name)
    for name, value in nobody(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    yield tmp_path
    wandb.teardown()
