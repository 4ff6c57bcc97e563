"""What needs a run of the demo, which takes minutes: so all of it is in one file, for one process.

Every notebook runs from top to bottom on it, and is committed with what that shows; and its experts matter.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from workbench import open_run
from workbench.analysis import analyze_run, mask_labels, read_analysis, read_mask
from workbench.demo import DEMO, SAMPLE
from workbench.export import export_run, load_model

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
UNLEARNING = next(path for path in NOTEBOOKS if path.stem == "unlearn_a_language")
DOCUMENTS = 60  # of each label: three quarters of the sample
PLOT = "application/vnd.plotly.v1+json"


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped demo model over three quarters of the shipped sample, made as `make app` makes the whole run."""
    path = tmp_path_factory.mktemp("demo") / "run"
    export_run(DEMO, DEMO / SAMPLE, path, limit=DOCUMENTS)
    run = open_run(path)
    analyze_run(run)
    mask_labels(run, load_model(DEMO))
    return path


def _shown(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """The kinds of output of each code cell; warnings and progress, on standard error, are not committed."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    kept = [[output for output in cell.outputs if output.get("name") != "stderr"] for cell in cells]
    return [sorted({kind for one in some for kind in one.get("data", {one.output_type: ""})}) for some in kept]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, demo_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONET_RUN", str(demo_run))
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    committed = _shown(notebook)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    ).execute()
    assert _shown(notebook) == committed
    assert any(PLOT in kinds for kinds in committed)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_shows_no_warning_of_the_machine_it_ran_on(path: Path) -> None:
    outputs = [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_unlearning_measures_the_random_control_where_nobody_has(
    bare_run_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a run without `monet mask`; the first four cells of code are enough."""
    monkeypatch.setenv("MONET_RUN", str(shutil.copytree(bare_run_path, tmp_path / "run")))
    notebook = nbformat.read(UNLEARNING, as_version=4)
    wanted = ("LANGUAGE =", "label_edit(", "read_mask(")
    notebook.cells = [c for c in notebook.cells if c.cell_type == "code" and any(w in c.source for w in wanted)]
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    assert "random experts" in notebook.cells[-1].outputs[-1]["data"]["text/plain"]


def test_every_label_has_specialised_experts_in_every_group(demo_run: Path) -> None:
    run = open_run(demo_run)
    for group in run.groups:
        counts = read_analysis(run, group)["specialised"].value_counts()
        assert (counts.reindex(run.labels, fill_value=0) > 100).all()


def test_removing_a_label_s_experts_hits_that_label(demo_run: Path) -> None:
    """The paper's Table 3 in loss: experts chosen on one part of the documents, measured on the other."""
    result = read_mask(open_run(demo_run))
    assert result is not None
    own = np.eye(len(result.labels), dtype=bool)
    assert result.delta_target >= 0.5
    assert result.selectivity >= 30
    assert (result.matrix[own] > 3 * np.where(own, -np.inf, result.matrix).max(1)).all()
    assert abs(result.control[own].mean()) < result.delta_target / 10
