"""The notebooks of the documentation run from their first cell to their last."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

DOCS = Path(__file__).resolve().parent.parent / "docs"
NOTEBOOKS = sorted(DOCS.glob("*.ipynb"))


def test_there_is_a_tutorial():
    assert DOCS / "tutorial.ipynb" in NOTEBOOKS


@pytest.mark.filterwarnings("ignore")  # of the kernel's client; cells are in another process
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    kept = [bool(cell.get("outputs")) for cell in notebook.cells]
    client = NotebookClient(
        notebook, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    assert [bool(cell.get("outputs")) for cell in notebook.cells] == kept, "kept outputs are stale"
    printed = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert not [out for out in printed if out.get("name") == "stderr"]
