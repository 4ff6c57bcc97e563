"""`monet trace` and `monet report --circuit`, as a person types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from monet_model import ExpertEdit, MonetForCausalLM
from workbench import Run, open_run
from workbench.analysis.circuits.circuit_result import Circuit
from workbench.analysis.circuits.trace import trace_circuit
from workbench.cli import app, main
from workbench.errors import BadInputError, NotFoundError, UnsupportedError

TEXT = "def add("
OTHER = Path(__file__).parents[2] / "golden" / "tiny-vd"


def invoke(*arguments: object) -> str:
    """Standard output of a command that succeeds."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def run(run_path: Path) -> Run:
    return open_run(run_path)


def traced(run: Run, *arguments: object) -> Circuit:
    """What the command prints as JSON, with everything kept."""
    whole = ("--node-threshold", 1, "--edge-threshold", 1, "--nodes", 12, "--json")
    return Circuit.from_json(json.loads(invoke("trace", run.model_path, "--text", TEXT, *whole, *arguments)))


def test_the_json_is_the_circuit(run: Run) -> None:
    tokenizer = run.tokenizer()
    assert tokenizer is not None
    model = MonetForCausalLM.from_pretrained(run.model_path).eval()
    ids = torch.tensor([tokenizer(TEXT)["input_ids"]])
    a, b = (tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in "ab")
    told = traced(run, "--target", "a", "--minus", "b", "--position", 1)
    known = trace_circuit(model, ids, (a, b), nodes=12, position=1, tokenizer=tokenizer).prune(1, 1)
    pd.testing.assert_frame_equal(told.nodes, known.nodes)
    pd.testing.assert_frame_equal(told.edges, known.edges)
    assert told.targets == known.targets
    assert told.completeness < 1e-6


def test_the_text_may_be_what_a_user_says(run: Run, tmp_path: Path) -> None:
    chat, tokenizer = Path(shutil.copytree(run.model_path, tmp_path / "chat")), run.tokenizer()
    assert tokenizer is not None
    ids = tokenizer(f"[{TEXT}]>")["input_ids"]
    with pytest.raises(UnsupportedError, match="no chat template"):
        invoke("trace", chat, "--text", TEXT, "--chat")
    tokenizer.chat_template = "{{ bos_token }}[{{ messages[0]['content'] }}]{% if add_generation_prompt %}>{% endif %}"
    tokenizer.save_pretrained(chat)
    told = Circuit.from_json(json.loads(invoke("trace", chat, "--text", TEXT, "--nodes", 3, "--chat", "--json")))
    assert list(told.ids) == ids


def test_an_edit_holds(run: Run, tmp_path: Path) -> None:
    model = MonetForCausalLM.from_pretrained(run.model_path).eval()
    before = traced(run, "--target", "a")
    strongest = before.nodes[before.nodes["kind"] == "expert"].sort_values("value", key=abs).iloc[-1]
    routers = [layers.start for layers in model.config.routing_groups if strongest["layer"] in layers]
    experts = {routers[0]: torch.tensor([strongest["expert"]])}
    ExpertEdit.from_experts(model, experts).save(tmp_path / "edit.safetensors")
    after = traced(run, "--target", "a", "--edit", tmp_path / "edit.safetensors")
    assert after.targets[0].logit != pytest.approx(before.targets[0].logit, abs=1e-6)


def test_what_is_printed_and_written(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "My circuit.json"
    told = invoke("trace", run.model_path, "--text", TEXT, "--nodes", 12, "--run", run.path, "--out", out, "--top", 3)
    content = json.loads(out.read_text())
    circuit = Circuit.from_json(content)
    assert content["metadata"]["slug"] == "my-circuit"
    assert content["metadata"]["pruning_settings"] == {"node_threshold": 0.8, "edge_threshold": 0.98}
    assert set(content["metadata"]["monet"]["origin"]["model"]["sha256"]) >= {"config.json"}
    assert f"Kept {len(circuit.nodes):,} of " in told
    assert f"{circuit.kept_nodes:.1%} of the influence" in told
    assert "Target " in told
    assert "Tokens: 0 <s> | 1 d | 2 e" in told
    page = tmp_path / "circuit.html"
    invoke("report", "--circuit", out, "--out", page)
    assert page.read_text().startswith("<!doctype html>")


def test_what_makes_no_sense_is_refused(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, error in (
        (("trace", run.model_path, "--text", TEXT, "--minus", "a"), BadInputError),
        (("trace", run.model_path, "--text", TEXT, "--position", "99"), BadInputError),
        (("trace", OTHER, "--text", TEXT), UnsupportedError),
        (("trace", tmp_path / "none", "--text", TEXT), NotFoundError),
        (("report", run.path, "--circuit", "c.json", "--out", "c.html"), BadInputError),
        (("report", "--out", "c.html"), BadInputError),
        (("report", "--text", "a", "--out", "c.html"), BadInputError),
        (("report", "--circuit", tmp_path / "none.json", "--out", tmp_path / "c.html"), NotFoundError),
    ):
        with pytest.raises(error):
            CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    copy = shutil.copytree(run.model_path, tmp_path / "model")
    (copy / "tokenizer.json").unlink()
    with pytest.raises(SystemExit):
        main(["trace", str(copy), "--text", TEXT])
    assert "has no tokenizer.json" in capsys.readouterr().err.replace("\n", " ")
