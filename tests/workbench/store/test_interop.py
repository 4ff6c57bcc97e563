"""Runs in other tools' layouts, read back by readers written after what those tools publish."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from workbench.errors import WorkbenchError
from workbench.interop import neuronpedia
from workbench.store import open_run


class DelphiCache:
    """A module's latent cache, read as Delphi's loader does (EleutherAI/delphi, delphi/latents/loader.py): the files'
    names are the first and last latent, latents count from the first, and all files hold the same tokens."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self.spans = sorted(tuple(map(int, file.stem.split("_"))) for file in folder.glob("*.safetensors"))
        self.files = {span: load_file(folder / "{}_{}.safetensors".format(*span)) for span in self.spans}
        self.tokens = self.files[self.spans[0]]["tokens"]

    def latent(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Locations (n, 2): window, position; and activations (n,)."""
        first = [span for span in self.spans if span[0] <= number][-1][0]
        (data,) = [self.files[span] for span in self.spans if span[0] == first]
        here = data["locations"][:, 2].astype(np.int64) + first == number
        return data["locations"][here, :2].astype(np.int64), data["activations"][here]


def same_as_run(cache: DelphiCache, run: Any, group: int, expert: int) -> None:
    """An expert's activations in the cache are the run's, token by token."""
    places, activations = cache.latent(expert)
    found = run.activations(group, expert)
    found = found[found["score"] > 1e-5]
    width = run.manifest["settings"]["context"]
    documents = run.documents[run.documents["kept"]]
    spans = -(-(documents["tokens"] + documents["bos"].notna()) // width)
    first = (spans.cumsum() - spans)[found["doc"]].to_numpy()
    assert places[:, 0].tolist() == (first + found["position"] // width).tolist()
    assert places[:, 1].tolist() == (found["position"] % width).tolist()
    assert cache.tokens[places[:, 0], places[:, 1]].tolist() == found["token"].tolist()
    np.testing.assert_allclose(activations, found["score"], rtol=2**-10, atol=2**-25)  # half precision


@pytest.mark.parametrize("splits", [1, 5])
def test_a_delphi_cache_of_all_experts(sound_run, tmp_path, splits) -> None:
    run = open_run(sound_run)
    folder = run.to_safetensors_coo(tmp_path, 1, splits=splits)
    assert folder == tmp_path / "model.layers.2.router"
    cache = DelphiCache(folder)
    assert [first for first, _ in cache.spans] == [0, *(last + 1 for _, last in cache.spans[:-1])]
    assert cache.spans[-1][1] == run.num_keys**2 - 1
    assert len(cache.spans) == splits
    for data in cache.files.values():
        assert {name: str(value.dtype) for name, value in data.items()} == {
            "locations": "uint16",
            "activations": "float16",
            "tokens": "int64",
        }
        assert (data["tokens"] == cache.tokens).all()
        order = data["locations"].astype(np.int64) @ [2**32, 2**16, 1]
        assert (np.diff(order) > 0).all()
    for expert in run.experts(1).index[::16]:
        same_as_run(cache, run, 1, int(expert))
    assert cache.config["cache_ctx_len"] == cache.tokens.shape[1] == run.manifest["settings"]["context"]
    assert cache.config["n_tokens"] == cache.tokens.size
    assert cache.config["model_name"] == run.model_path


def test_a_delphi_cache_of_some_experts_holds_them_alone(sound_run, tmp_path) -> None:
    run = open_run(sound_run)
    cache = DelphiCache(run.to_safetensors_coo(tmp_path, 0, [np.int64(200), 3, 3]))
    for expert in (3, 200):
        assert len(cache.latent(expert)[1])
        same_as_run(cache, run, 0, expert)
    assert sum(len(data["activations"]) for data in cache.files.values()) == sum(
        len(cache.latent(e)[1]) for e in (3, 200)
    )


def test_windows_hold_the_start_of_text_and_what_the_model_read(windowed_run, tmp_path) -> None:
    run = open_run(windowed_run)
    cache = DelphiCache(run.to_safetensors_coo(tmp_path, 0, splits=3))
    read = []
    for doc in np.flatnonzero(run.documents["kept"]):
        ids = run.input_ids(doc).tolist()
        read += [ids[start : start + 8] for start in range(0, len(ids), 8)]
    assert len(read) == len(cache.tokens)
    for window, ids in zip(cache.tokens.tolist(), read, strict=True):
        assert window == ids + [0] * (8 - len(ids))
    assert not run.documents["kept"].all()
    opens = [n for n, ids in enumerate(read) if ids[0] == 1]
    for expert in run.top_experts(0, limit=20).index:
        same_as_run(cache, run, 0, int(expert))
        places, _ = cache.latent(int(expert))
        assert not len([window for window, position in places.tolist() if position == 0 and window in opens])


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
    monkeypatch.setattr(neuronpedia, "BATCH", 12)
    run = open_run(request.getfixturevalue(made))
    experts = run.top_experts(1, limit=30).index.tolist()
    folder = run.to_neuronpedia(tmp_path, 1, experts)
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


def test_the_same_experts_give_the_same_bytes(sound_run, tmp_path) -> None:
    run = open_run(sound_run)
    for write in (run.to_neuronpedia, run.to_safetensors_coo):
        first, second = (write(tmp_path / name, 0, [5, 9]) for name in "ab")
        files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
        assert files
        for file in files:
            assert (first / file).read_bytes() == (second / file).read_bytes()


@pytest.mark.parametrize("method", ["to_safetensors_coo", "to_neuronpedia"])
def test_what_cannot_be_written_leaves_nothing(sound_run, tmp_path, method) -> None:
    write = getattr(open_run(sound_run), method)
    for said, group, experts in (("no group 7", 7, [1]), ("no expert 256", 0, [1, 256]), ("no experts", 0, [])):
        with pytest.raises(WorkbenchError, match=said):
            write(tmp_path, group, experts)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    folder = write(tmp_path, 0, [1])
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(WorkbenchError, match="exists; remove it or name another"):
        write(tmp_path, 0, [2])
    assert kept == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
