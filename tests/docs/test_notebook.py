"""The notebook goes through the whole job, here and now, and what is stored of it is whole and names no machine."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
NOTEBOOK = DOCS / "first-hour-in-python.ipynb"

nbformat = pytest.importorskip("nbformat", reason="needs the group docs (pip install --group docs)")
nbclient = pytest.importorskip("nbclient", reason="needs the group docs (pip install --group docs)")
pytest.importorskip("ipykernel", reason="needs the group docs (pip install --group docs)")


def _outputs(notebook) -> list:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_it_is_stored_as_it_ran() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    kinds = {output.output_type for output in _outputs(notebook)}
    pictures = [output for output in _outputs(notebook) if "image/png" in output.get("data", {})]

    assert counts == list(range(1, len(counts) + 1))
    assert "error" not in kinds
    assert len(pictures) >= 3
    assert not re.search(r"/(?:home|root|Users|tmp|work)/", NOTEBOOK.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HEADSTART_STORE", str(tmp_path / "store"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []

    # Raises where a cell does.
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()

    said = "".join(output.text for output in _outputs(notebook) if output.get("name") == "stdout")
    right = [float(share) for share in re.findall(r"([\d.]+)% of 84 test images right", said)]
    assert len(right) == 2
    assert min(right) > 50  # of seven classes; by chance it were 14
    assert (
        re.findall(r"(\d+)\n", "\n".join(re.findall(r"^(?:linear|ridge|knn).*", said, re.M)) + "\n")
        == ["0"] * 6
    )
