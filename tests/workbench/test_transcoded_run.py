"""A run of a transcoded model says on every page and report how well it stands for its teacher; another run nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from monet_model import ExpertEdit, MonetForCausalLM
from workbench import Run, open_run
from workbench.analysis import analyze_run, diff_models
from workbench.cli import app
from workbench.dashboard.application import create_app, draw
from workbench.dashboard.context import Context
from workbench.dashboard.pages import read_address
from workbench.errors import DamagedError
from workbench.explain import read_explanations
from workbench.export import export_run
from workbench.report.card import expert_card
from workbench.report.circuit import circuit_report
from workbench.report.comparison import comparison_document
from workbench.report.diff import diff_document
from workbench.report.expert import expert_document
from workbench.report.files import encode
from workbench.report.glossary import GLOSSARY
from workbench.report.label import label_document
from workbench.report.list import list_document
from workbench.store import verify_run
from workbench.store.address import Expert
from workbench.store.transcoded import FIGURES, Transcoded

LAYERS = [1, 2, 4, 5]
SAID = (
    "Layers 1, 2, 4 and 5 are transcoded from SmolLM2: loss +0.031 nats per token, 96.1 % of cross-entropy recovered "
    "(held-out text)."
)
FIGURE = "loss +0.031 nats per token, 96.1 % of"


def _write_figures(model: Path, **changed: Any) -> None:
    figures = {"teacher": "/elsewhere/SmolLM2", "settings": {"layers": LAYERS}, "rise": 0.0312, "recovered": 0.9611}
    (model / FIGURES).write_text(json.dumps(figures | changed))


@pytest.fixture(scope="module")
def folder(mixed_run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with figures beside it, its corpus, and its run, analysed."""
    folder = tmp_path_factory.mktemp("transcoded")
    ordinary = Path(open_run(mixed_run_path).model_path)
    shutil.copytree(ordinary, folder / "model")
    shutil.copyfile(ordinary.parent / "corpus.parquet", folder / "corpus.parquet")
    _write_figures(folder / "model")
    export_run(folder / "model", folder / "corpus.parquet", folder / "run")
    analyze_run(open_run(folder / "run"), permutations=0)
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return open_run(folder / "run")


@pytest.fixture(scope="module")
def ordinary(mixed_run_path: Path) -> Run:
    """The run of the same model without figures."""
    return open_run(mixed_run_path)


def _strongest(run: Run) -> Expert:
    return Expert(0, int(run.experts(0)["mass"].idxmax()))


def test_the_run_keeps_the_figures_where_the_model_is_gone(folder: Path, tmp_path: Path) -> None:
    moved = open_run(shutil.copytree(folder / "run", tmp_path / "run"))
    assert moved.transcoded == Transcoded("SmolLM2", (1, 2, 4, 5), 0.0312, 0.9611)
    assert str(moved.transcoded) == SAID
    assert moved.manifest["model"]["transcoded"] == {
        "teacher": "SmolLM2",
        "layers": LAYERS,
        "rise": 0.0312,
        "recovered": 0.9611,
    }
    assert not verify_run(moved.path)


def test_an_ordinary_run_keeps_none(ordinary: Run) -> None:
    assert ordinary.transcoded is None
    assert "transcoded" not in json.dumps(ordinary.manifest)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rise": None}, "damaged"),
        ({"recovered": float("nan")}, "not finite"),
        ({"settings": {"layers": []}}, "names no layers"),
        ({"settings": {"layers": [1, 2]}}, r"names the layers \[1, 2\], and the model has experts in \[1, 2, 4, 5\]"),
    ],
)
def test_figures_that_cannot_be_the_model_s_are_refused(
    folder: Path, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    model = shutil.copytree(folder / "model", tmp_path / "model")
    _write_figures(model, **changed)
    with pytest.raises(DamagedError, match=said):
        export_run(model, folder / "corpus.parquet", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def _texts(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, list):
        for part in tree:
            yield from _texts(part)
    elif isinstance(tree, dict):
        yield from _texts(tree.get("tree") or tree.get("props", {}).get("tree") or tree.get("children"))


def test_the_frame_around_every_page_says_it_with_its_terms_a_hover_away(run: Run, ordinary: Run) -> None:
    client = create_app(run).server.test_client()
    shown = client.get("/_dash-layout").json["props"]["children"]
    (note,) = [part for part in _components(shown) if "transcoded" in str(part.get("className", ""))]
    assert "".join(_texts(note["children"])) == SAID
    titles = [part["title"] for part in _components(note["children"]) if "title" in part]
    assert len(titles) == 2
    assert titles == [GLOSSARY["transcoded layer"], GLOSSARY["cross-entropy recovered"]]
    assert "transcoded" not in create_app(ordinary).server.test_client().get("/_dash-layout").text


def test_the_page_that_compares_runs_says_it_of_the_other_one(run: Run, ordinary: Run, tmp_path: Path) -> None:
    for name, one in (("mixed", run), ("plain", ordinary)):
        shutil.copytree(one.path, tmp_path / name)

    def page(name: str, other: str) -> str:
        return str(draw(Context(open_run(tmp_path / name)), read_address("/compare", f"?run={other}")).content)

    shown = page("plain", "mixed")
    assert "'mixed: '" in shown
    assert FIGURE in shown
    assert FIGURE not in page("mixed", "plain")


def _components(tree: Any) -> Iterator[dict[str, Any]]:
    """The properties of everything in a layout, of frozen trees too."""
    if isinstance(tree, list):
        for part in tree:
            yield from _components(part)
    elif isinstance(tree, dict):
        props = tree.get("props", {})
        yield props | {"children": tree.get("children", props.get("children"))}
        for inner in (tree.get("children"), props.get("children"), props.get("tree")):
            yield from _components(inner)


def test_every_report_says_it(run: Run, ordinary: Run) -> None:
    noted = pd.DataFrame([{"group": 0, "expert": _strongest(run).id, "tags": [], "notes": []}])

    def pages(one: Run) -> dict[str, str]:
        found = {
            "expert": expert_document(one, _strongest(one)),
            "label": label_document(one, "lua"),
            "list": list_document(one, "mine", "", noted),
            "comparison": comparison_document(one, one),
        }
        told = {name: encode(document, "html").decode() for name, document in found.items()}
        return told | {"card": expert_card(one, _strongest(one), read_explanations(one, *_strongest(one)), "/")}

    for name, page in pages(run).items():
        assert page.count(FIGURE) == (2 if name == "comparison" else 1), name
        assert "as far from the teacher as its figures say" in page
    for name, page in pages(ordinary).items():
        assert "transcoded from" not in page, name
    told = comparison_document(ordinary, run)
    assert encode(told, "html").decode().count(FIGURE) == 1
    assert "transcoded" not in told.content["origin"]["model"]
    assert told.content["other"]["model"]["transcoded"]["rise"] == 0.0312


def test_a_diff_and_a_circuit_say_which_model_it_is(run: Run, ordinary: Run, folder: Path, tmp_path: Path) -> None:
    found = diff_models(ordinary.model_path, run.model_path, folder / "corpus.parquet", limit=1)
    page = encode(diff_document(found), "html").decode()
    assert page.count(FIGURE) == 1
    assert "transcoded" not in found.base
    file, report = tmp_path / "circuit.json", tmp_path / "circuit.html"
    for model, count in ((run.model_path, 1), (ordinary.model_path, 0)):
        command = ["trace", model, "--text", "for i", "--nodes", "8", "--out", str(file)]
        assert CliRunner().invoke(app, command).exit_code == 0
        circuit_report(file, "html", report)
        assert report.read_text().count(FIGURE) == count


def test_commands_and_the_http_api_say_it(run: Run, ordinary: Run, folder: Path, tmp_path: Path) -> None:
    def printed(*words: object) -> str:
        result = CliRunner().invoke(app, [*map(str, words)])
        assert result.exit_code == 0, result.output
        return result.output

    copy = shutil.copytree(folder / "run", tmp_path / "run")
    assert SAID in printed("verify", copy)
    assert SAID in printed("analyze", copy, "--permutations", "2")
    assert SAID in printed("export", folder / "model", folder / "corpus.parquet", tmp_path / "again")
    assert "transcoded" not in printed("verify", ordinary.path)
    told = create_app(run).server.test_client().get("/api/v1/run").json
    figures = {"teacher": "SmolLM2", "layers": LAYERS, "rise": 0.0312, "recovered": 0.9611}
    assert told["transcoded"] == figures | {"edited": False}
    assert create_app(ordinary).server.test_client().get("/api/v1/run").json["transcoded"] is None


def test_a_model_with_an_edit_built_in_keeps_the_figures_and_says_of_what(folder: Path, tmp_path: Path) -> None:
    model, edit = folder / "model", tmp_path / "edit.safetensors"
    ExpertEdit.from_experts(MonetForCausalLM.from_pretrained(model), {1: [3]}).save(edit)
    command = ["export-model", str(model), "--edit", str(edit), "--out"]
    assert CliRunner().invoke(app, [*command, str(tmp_path / "edited")]).exit_code == 0
    export_run(tmp_path / "edited", folder / "corpus.parquet", tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert str(run.transcoded) == SAID.replace("(held-out text)", "(held-out text, before experts were edited)")
    assert not verify_run(run.path)
    told = create_app(run).server.test_client().get("/api/v1/run").json["transcoded"]
    assert told["edited"] is True
    damaged = shutil.copytree(model, tmp_path / "damaged")
    (damaged / FIGURES).write_text("{")
    refused = CliRunner().invoke(app, ["export-model", str(damaged), *command[2:], str(tmp_path / "never")])
    assert refused.exit_code != 0
    assert not (tmp_path / "never").exists()


def test_a_damaged_entry_is_noticed(run: Run) -> None:
    from workbench.store.checks.manifest import check_sense, check_shape
    from workbench.store.checks.problem import Wrong

    for change, check, said in (
        ({"layers": [1, 2]}, check_sense, "not those with experts"),
        ({"rise": "none"}, check_shape, "model.transcoded.rise is 'none'"),
    ):
        manifest = json.loads(json.dumps(run.manifest))
        check_shape(manifest)
        check_sense(manifest)
        manifest["model"]["transcoded"] |= change
        with pytest.raises(Wrong, match=said):
            check(manifest)
