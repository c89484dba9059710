"""Serve a finished run to a browser: ``python -m leukemia.serve``."""

import socket
from pathlib import Path

from omegaconf import DictConfig

from leukemia import cli
from leukemia.disk import check_writable
from leukemia.errors import UserError, check_count
from leukemia.runs.directory import open_run
from leukemia.settings.settled import asked

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main() -> None:
    """Run the command line."""
    cli.run_verb(serve, "serve", each="run")


def serve(cfg: DictConfig) -> None:
    """Answer requests until it is stopped."""
    if cfg.run is None:
        raise UserError("Expected run=..., but got none: --help shows how.")
    check_count("port", cfg.port, 1, 65535)
    keep = None if cfg.keep is None else Path(cfg.keep).expanduser()
    if keep is not None:
        check_writable(keep, "Name another folder for keep.")
    open_run(Path(cfg.run).expanduser(), trust=True)  # before torch is waited for
    listening = _listen(cfg.host, cfg.port)
    with listening:
        try:
            import uvicorn

            from leukemia.serve.app import make_app
        except ImportError as error:
            raise UserError(
                f"leukemia.serve needs the package '{error.name}': pip install 'leukemia[serve]'."
            ) from error
        from leukemia.runs.predictor import open_predictor

        predictor = open_predictor(cfg.run, trust=cfg.trust, **asked(cfg))
        hosts = list(LOOPBACK) if cfg.host in LOOPBACK else ["*"]
        app = make_app(predictor, hosts=hosts, keep=keep)
        print(f"http://{cfg.host}:{cfg.port} shows {predictor.finished.run.path}; Ctrl-C ends it.")
        print("Research software, no diagnosis.", flush=True)
        settings = uvicorn.Config(app, log_level="warning", timeout_keep_alive=30)
        uvicorn.Server(settings).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound, so that a port in use is told before the run is loaded.

    Raises:
        UserError: it cannot be.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        raise UserError(
            f"Cannot listen on host={host} port={port}: {error.strerror or error}. "
            f"Name another port, as port={port % 65535 + 1}."
        ) from error
    return listening


if __name__ == "__main__":
    main()
