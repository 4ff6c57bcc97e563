"""A mixed model through the whole workbench: exported, checked, analysed, edited, reported, and shown on every page."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from monet_model import ExpertEdit, MonetForCausalLM
from workbench import Run, open_run
from workbench.analysis import attribute_corpus, label_edit, output_directions
from workbench.analysis.attribution.prompt import Prompt, read_prompt
from workbench.analysis.checks import check_same_model
from workbench.analysis.windows import read_windows
from workbench.checkpoint import load_model
from workbench.cli import app
from workbench.dashboard.application import create_app, draw
from workbench.dashboard.circuit.asked import read_asked
from workbench.dashboard.circuit.graph import graph_answer
from workbench.dashboard.circuit.pinned import neurons_part, pinned_part
from workbench.dashboard.circuit.reacting import reaction_part
from workbench.dashboard.circuit.traced import Traced, find, heads, neurons, reaction, start
from workbench.dashboard.context import Context
from workbench.dashboard.pages import PAGES, read_address
from workbench.errors import UnsupportedError
from workbench.explain.logit_lens import expert_logits
from workbench.export import export_run
from workbench.report.circuit_texts import layer_groups
from workbench.report.expert import expert_document
from workbench.store import verify_run
from workbench.store.address import Expert

GROUPS = [[1, 2], [4, 5]]


@pytest.fixture(scope="module")
def run(mixed_run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run, in a copy that tests may add to."""
    return open_run(shutil.copytree(mixed_run_path, tmp_path_factory.mktemp("copy") / "run"))


@pytest.fixture(scope="module")
def model(run: Run) -> MonetForCausalLM:
    return load_model(run.model_path)


def _monet(*words: Any) -> Any:
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_run_knows_the_layers_of_its_groups(run: Run) -> None:
    assert run.group_layers == [1, 4]
    assert [run.layers_of(group) for group in run.groups] == GROUPS
    assert [run.layers_text(group) for group in run.groups] == ["layers 1 to 2", "layers 4 to 5"]
    assert run.manifest["model"]["dense_layers"] == [0, 3, 6]
    assert layer_groups(run, 7) == [-1, 0, 0, -1, 1, 1, -1]
    assert not verify_run(run.path)


@torch.no_grad()
def test_its_routing_is_the_models(run: Run, model: MonetForCausalLM) -> None:
    check_same_model(run, model)
    for batch in read_windows(run, run.documents.head(4)).batches:
        probs = model(batch.ids, output_router_probs=True, use_cache=False).router_probs
        assert [layer for layer, routed in enumerate(probs) if routed is not None] == [1, 4]
        counted = batch.row >= 0
        for group, layer in enumerate(run.group_layers):
            stored = run.routing(batch.row[counted].numpy(), group).dense()
            for kept, g in zip(stored, probs[layer], strict=True):
                torch.testing.assert_close(kept.float(), g[counted], atol=2e-3, rtol=2e-3)


def test_an_export_runs_to_the_last_router_only(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from monet_model.dense import DenseMLP

    passed: list[Any] = []
    forward = DenseMLP.forward

    def counted(mlp: DenseMLP, x: torch.Tensor) -> torch.Tensor:
        passed.append(mlp)
        return forward(mlp, x)

    monkeypatch.setattr(DenseMLP, "forward", counted)
    export_run(run.model_path, Path(run.model_path).parent / "corpus.parquet", tmp_path / "again")
    assert len(set(passed)) == 2  # layers 0 and 3; the third stands above


def test_a_model_without_experts_is_not_exported(tmp_path: Path, model: MonetForCausalLM) -> None:
    fields = {name: value for name, value in model.config.to_dict().items() if not name.startswith(("_", "dtype"))}
    dense = type(model)(type(model.config)(**fields | {"dense_layers": list(range(7))}))
    dense.save_pretrained(tmp_path / "model")
    rows = pd.DataFrame({"input_ids": [[0, 5, 6]], "label": ["a"]})
    rows.to_parquet(tmp_path / "corpus.parquet")
    with pytest.raises(UnsupportedError, match="every layer of the model .* is dense"):
        export_run(tmp_path / "model", tmp_path / "corpus.parquet", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_prompts_and_corpora_are_attributed_completely(run: Run, model: MonetForCausalLM) -> None:
    tokenizer = run.tokenizer()
    reading = read_prompt(model, Prompt.tokenise(tokenizer, "for i = 1", 256))
    for prefix in (reading, reading.until(3)):
        found = prefix.attribute()
        assert found.completeness < 1e-4
        assert set(prefix.top_contributions(found)["group"]) <= {0, 1}
        assert "dense layers" in found.summary()["component"].tolist()
    (token,) = tokenizer.encode("x", add_special_tokens=False)
    mean = attribute_corpus(run, model, token)
    assert mean.completeness < 1e-4
    assert set(mean.experts["layer"]) <= {1, 2, 4, 5}
    assert [name for name in mean.rest["component"] if name.endswith("mlp")] == ["L0mlp", "L3mlp", "L6mlp"]


@torch.no_grad()
def test_experts_of_a_group_are_read_in_its_layers(run: Run, model: MonetForCausalLM) -> None:
    best = int(run.experts(1)["mass"].idxmax())
    both = expert_logits(run, model, 1, best)
    each = [expert_logits(run, model, 1, best, layer=layer) for layer in (4, 5)]
    assert both is not None
    torch.testing.assert_close(torch.tensor(both), sum(map(torch.tensor, each)))  # type: ignore[arg-type]
    assert len(output_directions(run, model, 1).parts) == 2 * 2  # halves of vertical experts in two layers
    edit = label_edit(run, model, "lua")
    assert sorted(edit.matrices()) == [1, 4]
    ids = torch.tensor([[0, 40, 41, 42]])
    with model.edit_experts(edit), model.edit_experts(ExpertEdit.from_experts(model, {4: [best]})):
        assert model(ids).logits.isfinite().all()


def test_commands_read_a_mixed_model(run: Run, tmp_path: Path) -> None:
    said = _monet("attribute", run.model_path, "--text", "for i")
    assert said["completeness"] < 1e-4
    file = tmp_path / "circuit.json"
    said = _monet("trace", run.model_path, "--text", "for i", "--nodes", 64, "--out", file, "--run", run.path)
    assert "MLP" in file.read_text()
    report = tmp_path / "circuit.html"
    plain = CliRunner().invoke(app, ["report", "--circuit", str(file), "--out", str(report), "--format", "html"])
    assert plain.exit_code == 0, plain.output
    assert "MLP of a dense layer at a token" in report.read_text()
    told = CliRunner().invoke(app, ["attribute", run.model_path, "--text", "for i"])
    assert "L3mlp" in told.output
    assert "dense" in told.output
    assert expert_document(run, Expert(1, int(run.experts(1)["mass"].idxmax()))).content["expert"]["layers"] == [4, 5]


def test_every_page_opens(run: Run) -> None:
    ctx = Context(run)
    best = f"/expert/1/{ctx.ranking(1)[0]}"
    links = [page.path for page in PAGES if "{" not in page.path]
    links += [
        "/labels/lua",
        best,
        "/documents/0",
        "/keys/1/1/3",
        "/mask?without=lua",
        "/prompt?text=for+i",
        "/?group=1",
    ]
    drawn = {link: draw(ctx, read_address(*link.partition("?")[::2])) for link in links}
    assert {link: page.status for link, page in drawn.items() if page.status != 200} == {}
    assert "layer group 1 (layers 4 to 5)" in str(drawn[best].content)
    assert "layers 1 to 2; layers 4 to 5" in str(drawn["/"].content)


def test_the_circuit_page_shows_mlps(run: Run) -> None:
    ctx = Context(run)
    asked = read_asked(ctx, {"text": "for i", "nodes": "64"})
    while start(ctx, asked).running:
        time.sleep(0.05)
    traced: Traced = find(ctx, asked)
    whole = graph_answer(ctx, traced, 1, 1)
    assert whole["kept"]["completeness"] < 1e-6
    mlps = [node for node in whole["nodes"] if node["kind"] == "mlp"]
    assert {node["layer"] for node in mlps} == {0, 3, 6}
    assert all(node["title"].startswith(f"MLP of layer {node['layer']}, ") for node in mlps)
    experts = [node for node in whole["nodes"] if node["kind"] == "expert"]
    assert all(node["layer"] in GROUPS[node["group"]] for node in experts)
    last = max(mlps, key=lambda node: (node["layer"], node["position"]))["name"]
    assert len(heads(ctx, asked, last, "logit", "value"))
    pinned = str(pinned_part(ctx, traced, [last], ""))
    assert "show the neurons of the MLP of layer 6" in pinned
    assert "Ablate" in pinned
    found = neurons(ctx, asked, last)
    assert found["value"].sum() == pytest.approx(traced.nodes[traced.number(last)].value)
    assert f"neuron {found['neuron'][0]}" in str(neurons_part(traced, last, found))
    changed = reaction(ctx, asked, {last: 0.0})
    assert "ablated" in str(reaction_part(traced, asked, {last: 0.0}, changed))
    assert reaction(ctx, asked, {experts[0]["name"]: 0.0}).after != changed.after


def test_the_api_answers_about_it(run: Run) -> None:
    client = create_app(run).server.test_client()
    said = client.post("/api/v1/circuit", json={"text": "for i", "nodes": 32, "node_threshold": 1}).get_json()
    assert {"mlp", "expert"} <= {node["kind"] for node in said["nodes"]}
    assert {node["group"] for node in said["nodes"] if node["kind"] == "mlp"} == {-1}
    said = client.post("/api/v1/attribute", json={"text": "for i"}).get_json()
    assert "L3mlp" in [part["component"] for part in said["rest"]]
