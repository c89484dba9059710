"""The notebook of the docs runs, from its first cell to its last."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()  # a cell that raises ends it
    assert (tmp_path / "notebook_files" / "run" / "DONE").is_file()
    last = notebook.cells[-1].outputs
    assert any("image/png" in output.get("data", {}) for output in last)


def test_what_the_notebook_shows_names_no_place_of_a_machine():
    lines = NOTEBOOK.read_text().splitlines()
    shown = "".join(line for line in lines if '"image/png"' not in line)
    assert [place for place in ("/tmp", "/home", "/work", "/root") if place in shown] == []
