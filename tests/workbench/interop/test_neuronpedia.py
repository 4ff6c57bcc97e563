"""A run's experts as Neuronpedia imports features, checked against the columns of its tables."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench.checkpoint import load_model
from workbench.errors import UnsupportedError
from workbench.explain import logit_view
from workbench.explain.stored import SCHEMA, write_explanations
from workbench.export import export_run
from workbench.interop import neuronpedia, write_neuronpedia
from workbench.store import Run, open_run

# The columns of Neuronpedia's tables (hijohnnylin/neuronpedia, apps/webapp/prisma/schema.prisma at 008d504) that a line
# may hold: type, and whether the importer needs it, as the database has no default.
STRING, INTEGER, FLOAT, FLAG = str, int, (int, float), bool
COLUMNS: dict[str, dict[str, tuple[Any, bool]]] = {
    "release": {
        "name": (STRING, True), "visibility": (STRING, False), "isNewUi": (FLAG, False), "featured": (FLAG, False),
        "description": (STRING, True), "descriptionShort": (STRING, False), "urls": ([STRING], True),
        "creatorEmail": (STRING, False), "creatorName": (STRING, True), "creatorNameShort": (STRING, False),
        "creatorId": (STRING, True), "defaultSourceSetName": (STRING, False), "defaultSourceId": (STRING, False),
        "defaultUmapSourceIds": ([STRING], False), "createdAt": (STRING, False),
    },
    "model": {
        "id": (STRING, True), "displayNameShort": (STRING, False), "displayName": (STRING, False),
        "creatorId": (STRING, True), "tlensId": (STRING, False), "dimension": (INTEGER, False),
        "thinking": (FLAG, False), "visibility": (STRING, False), "inferenceEnabled": (FLAG, False),
        "instruct": (FLAG, False), "layers": (INTEGER, True), "neuronsPerLayer": (INTEGER, True),
        "owner": (STRING, True), "website": (STRING, False), "createdAt": (STRING, False),
    },
    "sourceset": {
        "modelId": (STRING, True), "name": (STRING, True), "hasDashboards": (FLAG, False),
        "allowInferenceSearch": (FLAG, False), "visibility": (STRING, False), "description": (STRING, True),
        "type": (STRING, False), "creatorName": (STRING, True), "urls": ([STRING], True),
        "creatorEmail": (STRING, False), "creatorId": (STRING, True), "releaseName": (STRING, False),
        "defaultRange": (INTEGER, False), "defaultShowBreaks": (FLAG, False), "createdAt": (STRING, False),
    },
    "source": {
        "id": (STRING, True), "modelId": (STRING, True), "hasDashboards": (FLAG, False),
        "inferenceEnabled": (FLAG, False), "hfRepoId": (STRING, False), "hfFolderId": (STRING, False),
        "visibility": (STRING, False), "setName": (STRING, True), "creatorId": (STRING, True),
        "num_prompts": (INTEGER, False), "num_tokens_in_prompt": (INTEGER, False), "dataset": (STRING, False),
        "notes": (STRING, False), "createdAt": (STRING, False),
    },
    "features": {
        "modelId": (STRING, True), "layer": (STRING, True), "index": (STRING, True), "sourceSetName": (STRING, False),
        "creatorId": (STRING, False), "maxActApprox": (FLOAT, False), "hasVector": (FLAG, False),
        "vector": ([FLOAT], False), "hookName": (STRING, False), "neg_str": ([STRING], False),
        "neg_values": ([FLOAT], False), "pos_str": ([STRING], False), "pos_values": ([FLOAT], False),
        "frac_nonzero": (FLOAT, False), "freq_hist_data_bar_heights": ([FLOAT], False),
        "freq_hist_data_bar_values": ([FLOAT], False), "createdAt": (STRING, False),
    },
    "explanations": {
        "id": (STRING, True), "modelId": (STRING, True), "layer": (STRING, True), "index": (STRING, True),
        "description": (STRING, True), "authorId": (STRING, True), "triggeredByUserId": (STRING, False),
        "notes": (STRING, False), "scoreV1": (FLOAT, False), "scoreV2": (FLOAT, False), "typeName": (STRING, False),
        "explanationModelName": (STRING, False), "createdAt": (STRING, False),
    },
    "activations": {
        "id": (STRING, True), "tokens": ([STRING], True), "dataIndex": (STRING, False), "index": (STRING, True),
        "layer": (STRING, True), "modelId": (STRING, True), "dataSource": (STRING, False), "maxValue": (FLOAT, True),
        "maxValueTokenIndex": (INTEGER, True), "minValue": (FLOAT, True), "values": ([FLOAT], True),
        "creatorId": (STRING, True), "binMin": (FLOAT, False), "binMax": (FLOAT, False), "binContains": (FLOAT, False),
        "qualifyingTokenIndex": (INTEGER, False), "createdAt": (STRING, False),
    },
}  # fmt: skip


def check_line(table: str, line: dict[str, Any]) -> None:
    """A line has the columns that the table needs, and none that it has not, each of its type."""
    columns = COLUMNS[table]
    assert set(line) <= set(columns)
    assert {name for name, (_, needed) in columns.items() if needed} <= set(line)
    for name, value in line.items():
        kind, needed = columns[name]
        if value is None:
            assert not needed, name
        elif isinstance(kind, list):
            assert all(isinstance(item, kind[0]) and not isinstance(item, bool) for item in value), name
        else:
            assert isinstance(value, kind), name
            assert kind is FLAG or not isinstance(value, bool), name


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file, as the importer splits them."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    return [json.loads(line) for line in text.strip().split("\n") if line]


def lines_of(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The rows of a table in all batches, checked: a file has rows, and all have the columns of the first."""
    rows = []
    for file in sorted((folder / kind).iterdir(), key=lambda p: int(p.name.split("-")[1].split(".")[0])):
        assert (lines := read_lines(file))
        for line in lines:
            check_line(kind, line)
            assert set(line) == set(lines[0])
        rows += lines
    return rows


@pytest.mark.parametrize("made", ["sound_run", "short_run", "windowed_run"])
def test_neuronpedia_reads_what_the_run_holds(made, request, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(neuronpedia, "BATCH_FEATURES", 12)
    run = open_run(request.getfixturevalue(made))
    experts = run.top_experts(1, limit=30).index.tolist()
    folder = write_neuronpedia(run, tmp_path, 1, experts)
    assert folder == tmp_path / "tiny-hd" / "2-monet-experts"
    about = {name: read_lines(folder / f"{name}.jsonl") for name in ("release", "model", "sourceset", "source")}
    assert len(list((folder / "features").iterdir())) == len(list((folder / "activations").iterdir())) == 3
    lines = {kind: lines_of(folder, kind) for kind in ("features", "activations")}
    assert not (folder / "explanations").exists()
    for table, rows in about.items():
        check_line(table, *rows)
    (release,), (model,), (sourceset,), (source,) = about.values()
    assert sourceset["releaseName"] == release["name"]
    assert (source["setName"], source["modelId"]) == (sourceset["name"], model["id"])
    assert [line["index"] for line in lines["features"]] == [str(expert) for expert in sorted(experts)]
    assert len({line["id"] for line in lines["activations"]}) == len(lines["activations"])
    for feature in lines["features"][:: max(1, len(experts) // 10)]:
        expert = int(feature["index"])
        assert (feature["modelId"], feature["layer"]) == (model["id"], source["id"])
        row = run.expert(1, expert)
        assert feature["maxActApprox"] == row["max"]
        assert feature["pos_str"] == feature["pos_values"] == feature["neg_str"] == feature["neg_values"] == []
        assert feature["frac_nonzero"] == row["tokens"] / run.tokens_total
        assert sum(feature["freq_hist_data_bar_heights"]) == row["tokens"]
        mine = [line for line in lines["activations"] if line["index"] == feature["index"]]
        examples = run.examples(1, expert, 32)
        assert len(mine) == len(examples)
        for line, example in zip(mine, examples.itertuples(index=False), strict=True):
            at = line["qualifyingTokenIndex"]
            assert len(line["tokens"]) == len(line["values"])
            assert line["tokens"][at] == example.token_text
            assert line["values"][at] == pytest.approx(example.score)
            assert line["values"][line["maxValueTokenIndex"]] == line["maxValue"] == max(line["values"])
            assert line["dataIndex"] == str(example.doc)


def explain(run: Run, *rows: dict[str, Any]) -> None:
    """Store explanations of experts of group 0."""
    plain = dict.fromkeys(SCHEMA.names, np.nan) | {"group": 0, "judge": "", "active": 0, "negatives": 0}
    write_explanations(run, pd.DataFrame([plain | row for row in rows]))


@pytest.fixture
def own_run(sound_run: Path, tmp_path: Path) -> Run:
    """A run to store explanations in."""
    shutil.copytree(sound_run, tmp_path / "run")
    return open_run(tmp_path / "run")


def test_neuronpedia_gets_the_stored_explanations(own_run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(neuronpedia, "BATCH_FEATURES", 2)
    scores = {"judge": "J", "active": 5, "negatives": 6, "detection": 0.75, "detection:low": 0.5, "detection:high": 1.0}
    explain(
        own_run,
        {"expert": 5, "kind": "template", "author": "T", "text": "fires at x", **scores, "detection:control": 0.5},
        {"expert": 5, "kind": "person", "author": "Ann", "text": "likes x"},
        {"expert": 9, "kind": "person", "author": "Ann", "text": "likes y"},
        {"expert": 200, "kind": "person", "author": "Ann", "text": "not asked for"},
        {"expert": 5, "group": 1, "kind": "person", "author": "Ann", "text": "another group"},
    )
    folder = write_neuronpedia(own_run, tmp_path / "out", 0, [3, 4, 5, 6, 9], creator="me")
    assert sorted(file.name for file in (folder / "explanations").iterdir()) == ["batch-1.jsonl.gz", "batch-2.jsonl.gz"]
    lines = lines_of(folder, "explanations")
    features = lines_of(folder, "features")
    assert [(line["index"], line["description"]) for line in lines] == [
        ("5", "likes x"), ("5", "fires at x"), ("9", "likes y"),
    ]  # fmt: skip
    assert {(line["authorId"], line["modelId"], line["layer"]) for line in lines} == {
        ("me", features[0]["modelId"], features[0]["layer"])
    }
    assert len({line["id"] for line in lines}) == 3
    assert [line["notes"] for line in lines] == [
        "person, by Ann",
        "template, by T; detection: balanced accuracy 0.75 (95 % CI 0.50 to 1.00), another expert's explanation 0.50; "
        "judged by J on 5 active and 6 silent passages",
        "person, by Ann",
    ]


def test_neuronpedia_gets_the_tokens_that_an_expert_promotes_and_suppresses(short_run, tmp_path) -> None:
    run = open_run(short_run)
    model = load_model(run.model_path)
    silent = min(set(range(run.num_keys**2)) - set(run.experts(0).index))
    wanted = [silent, *run.top_experts(0, limit=3).index.tolist()]
    folder = write_neuronpedia(run, tmp_path / "with", 0, wanted, model=model)
    bare = lines_of(write_neuronpedia(run, tmp_path / "without", 0, wanted), "features")
    for line, without in zip(lines_of(folder, "features"), bare, strict=True):
        assert set(line) == set(without)
        view = logit_view(run, model, 0, int(line["index"]), 10)
        assert line["pos_str"] == view["token_text"][:10].tolist()
        assert line["pos_values"] == view["logit"][:10].tolist()
        assert line["neg_str"] == view["token_text"][:9:-1].tolist()
        assert line["neg_values"] == view["logit"][:9:-1].tolist()
        assert (line["pos_str"] == []) == (int(line["index"]) == silent)
        assert line | {name: [] for name in ("pos_str", "pos_values", "neg_str", "neg_values")} == without


def test_neuronpedia_refuses_the_logits_of_another_model(own_run, bare_run_path, tmp_path) -> None:
    with pytest.raises(UnsupportedError, match="was exported from"):
        write_neuronpedia(own_run, tmp_path / "out", 0, [5], model=load_model(open_run(bare_run_path).model_path))
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*.gz"))


NUL = [{"text": f"a\0b value \0 end{n}", "label": "ab"[n % 2], "source": "x\0y"} for n in range(8)]


def test_neuronpedia_gets_no_null_characters(bare_run_path, tmp_path) -> None:
    """Postgres takes U+0000 in no text, and the importer replaces its escape before it parses a line."""
    model = shutil.copytree(open_run(bare_run_path).model_path, tmp_path / "model")
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["\u0100"] = 100  # how byte-level tokenizers spell U+0000
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    (tmp_path / "nul.jsonl").write_text("".join(json.dumps(row) + "\n" for row in NUL))
    export_run(model, tmp_path / "nul.jsonl", tmp_path / "run")
    run = open_run(tmp_path / "run")
    experts = run.top_experts(0, limit=5).index.tolist()
    spelt = r"spelt \u0000, \\u0000"
    explain(run, {"expert": experts[0], "kind": "person", "author": "A\0", "text": f"the \0 byte, {spelt}"})
    folder = write_neuronpedia(run, tmp_path / "out", 0, experts, model=load_model(model))
    for file in folder.rglob("*.jsonl*"):
        content = file.read_bytes()
        text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode()
        assert r"\u0000" not in text
        assert "\0" not in text
    activations = lines_of(folder, "activations")
    assert any("\u2400" in line["tokens"] for line in activations)
    assert {line["dataSource"] for line in activations} == {"x\u2400y"}
    (explained,) = lines_of(folder, "explanations")
    assert explained["description"] == f"the \u2400 byte, {spelt}"
    assert explained["notes"] == "person, by A\u2400"


def test_neuronpedia_notes_how_well_a_rule_tells_tokens(own_run, tmp_path) -> None:
    figures = {"balanced_accuracy": 0.93, "average_precision": 0.5}
    explain(own_run, {"expert": 5, "kind": "rule", "author": "monet", "text": "fires at x", **figures})
    (line,) = lines_of(write_neuronpedia(own_run, tmp_path / "out", 0, [5], creator="me"), "explanations")
    notes = "rule, by monet; balanced accuracy over tokens 0.93; average precision over tokens 0.50"
    assert line["notes"] == notes
