"""A run's experts as Neuronpedia imports features, checked against the columns of its tables."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from workbench.interop import neuronpedia, write_neuronpedia
from workbench.store import open_run

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


@pytest.mark.parametrize("made", ["sound_run", "short_run", "windowed_run"])
def test_neuronpedia_reads_what_the_run_holds(made, request, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(neuronpedia, "BATCH_FEATURES", 12)
    run = open_run(request.getfixturevalue(made))
    experts = run.top_experts(1, limit=30).index.tolist()
    folder = write_neuronpedia(run, tmp_path, 1, experts)
    assert folder == tmp_path / "tiny-hd" / "2-monet-experts"
    about = {name: read_lines(folder / f"{name}.jsonl") for name in ("release", "model", "sourceset", "source")}
    assert len(list((folder / "features").iterdir())) == len(list((folder / "activations").iterdir())) == 3
    lines = about | {
        kind: [
            line
            for file in sorted((folder / kind).iterdir(), key=lambda p: int(p.name.split("-")[1].split(".")[0]))
            for line in read_lines(file)
        ]
        for kind in ("features", "activations")
    }
    for table, rows in lines.items():
        for row in rows:
            check_line(table, row)
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
