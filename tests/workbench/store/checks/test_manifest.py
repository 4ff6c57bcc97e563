"""Verification reads a manifest with distrust: anything in it may be missing, of another kind, or untrue."""

from __future__ import annotations

import json
import re
import shutil
from typing import Any

import pytest

from workbench.store import verify_run

NOT_OF_A_KIND = (None, -1, 2**60, 1.5, float("nan"), float("inf"), True, "x", [], {}, [[]], {"x": None})


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(leaf for name, entry in inside for leaf in _leaves(entry, (*path, name)))]


def _put(value: Any, path: tuple[Any, ...], entry: Any) -> None:
    for name in path[:-1]:
        value = value[name]
    value[path[-1]] = entry


@pytest.mark.parametrize("entry", NOT_OF_A_KIND, ids=repr)
def test_any_entry_of_another_kind_is_found(text_copy, entry) -> None:
    path = text_copy.path / "manifest.json"
    manifest = json.loads(path.read_text())
    texts = {("model", "path"), ("corpus", "path"), *(("labels", n) for n in range(len(manifest["labels"])))}
    for leaf in _leaves(manifest)[1:]:
        if leaf in texts and isinstance(entry, str):
            continue
        changed = json.loads(json.dumps(manifest))
        _put(changed, leaf, entry)
        if changed == manifest:
            continue
        path.write_text(json.dumps(changed))
        problems = verify_run(text_copy.path)
        assert problems, leaf
        assert all("manifest.json" in p or "schema version" in p for p in problems), (leaf, problems)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["parts"].pop(), "all documents of the corpus"),
        (lambda m: m["parts"].reverse(), "not numbered"),
        (lambda m: m["parts"].append(m["parts"][-1]), "not numbered"),
        (lambda m: m["parts"].clear(), "not numbered"),
        (lambda m: m["parts"][0].update(rows=[0, 5]), "rows of the parts are not consecutive"),
        (lambda m: m["parts"][0].update(rows=[0, 120.0]), r"parts\[0\].rows is \[0, 120.0\], not two whole numbers"),
        (lambda m: m["parts"][1].update(windows=[0, 5]), "windows of the parts"),
        (lambda m: m["parts"][-1]["windows"].__setitem__(1, 7), "number of context windows differs"),
        (lambda m: m["parts"][-1]["rows"].__setitem__(1, 241), "as many tokens as it has rows|241"),
        (lambda m: m["parts"][-1]["rows"].__setitem__(1, 2**40), "as many tokens as it has rows"),
        (lambda m: m["parts"][0].update(size=1), "differs from the manifest's size"),
        (lambda m: m["parts"][0]["files"].popitem(), "part 0 are not all listed"),
        (lambda m: m["files"].pop("experts/group-0.parquet"), "not all listed"),
        (lambda m: m["files"].update({"../x": m["files"]["experts/group-0.parquet"]}), "not all listed"),
        (lambda m: m["files"].update({"../../x": m["files"]["experts/group-0.parquet"]}), "unknown entry"),
        (lambda m: m.update(state="exporting", files={"a/\0": {"bytes": 0, "sha256": "0" * 64}}), r"'files.a/\\x00'"),
        (lambda m: m.update({"\x1b[2J": 1}), r"it has an unknown entry '\\x1b\[2J'"),
        (lambda m: m["files"].update({"tokenizer/tokenizer.json": m["files"]["experts/group-0.parquet"]}), "tokenizer"),
        (lambda m: m["histogram"].__setitem__(3, 0.5), "histogram's edges"),
        (lambda m: m["labels"].reverse(), "labels are not sorted"),
        (lambda m: m["labels"].append("c"), "labels without documents"),
        (lambda m: m.update(labels=["a", "c"]), "labels that the manifest does not have"),
        (lambda m: m.pop("files"), "it lacks files"),
        (lambda m: m.pop("parts"), "it lacks parts"),
        (lambda m: m["model"].pop("keys"), "it lacks model.keys"),
        (lambda m: m.update(note="mine"), "it has an unknown entry 'note'"),
        (
            lambda m: m["model"].update(keys=m["model"]["keys"] * 2),
            "inverted index of the routing|does not match the routing",
        ),
        (lambda m: m["model"].update(heads=2**15), "more than a run can store"),
        (lambda m: m["model"].update(vocabulary=100), "beyond the vocabulary"),
        (lambda m: m["model"]["groups"].append(3), "not all listed"),
        (lambda m: m["model"].update(dense_layers=[0]), "not ascending layers from 1"),
        (lambda m: m["model"].update(dense_layers=[2]), "has layers of model.dense_layers"),
        (lambda m: m["model"].update(dense_layers=[3, 1]), "model.dense_layers are not ascending layers"),
        (lambda m: m["model"].update(dense_layers=[4]), "model.dense_layers are not ascending layers"),
        (lambda m: m["model"].update(dense_layers=["0"]), r"model.dense_layers\[0\] is '0'"),
        (lambda m: m["model"]["hash"].pop("config.json"), "model.hash lacks"),
        (lambda m: m["settings"].update(context=7), "context windows"),
        (lambda m: m["settings"].update(part_tokens=121), "end after part_tokens"),
        (lambda m: m["settings"].update(part_tokens=80), "end after part_tokens"),
        (lambda m: m["settings"].update(keep_routing=0.5), "keep_routing asks for"),
        (lambda m: m["settings"].update(examples=8), "too many"),
        (lambda m: m["settings"].update(examples_per_document=5), "examples that contradict the routing"),
        (lambda m: m["settings"].update(examples_per_document=3), "too many of one document"),
        (lambda m: m["corpus"].update(documents=7), "all documents of the corpus"),
        (lambda m: m.update(state="done"), "state is 'done', not complete or exporting"),
        (lambda m: m.update(state="exporting"), "half-written"),
    ],
)
def test_an_edited_manifest_with_its_checksum_made_to_fit(copy, change, said) -> None:
    copy.edit(change)
    problems = verify_run(copy.path)
    assert problems
    assert re.search(said, " ".join(problems)), problems


def test_a_setting_that_asks_for_longer_lists_is_found(text_copy) -> None:
    text_copy.edit(lambda manifest: manifest["settings"].update(examples=33))
    assert any("examples that contradict the routing" in p for p in verify_run(text_copy.path))


@pytest.mark.parametrize(
    ("path", "entry"),
    [
        (("settings", "batch_size"), 17),
        (("settings", "context"), 63),
        (("model", "decompose"), "vertical"),
        (("model", "topk"), 1),
        (("model", "layers"), 99),
        (("model", "path"), "elsewhere"),
        (("model", "hash", "config.json"), "0" * 64),
        (("corpus", "hash"), "0" * 64),
    ],
)
def test_what_nothing_else_in_a_run_knows_is_held_by_the_checksum(run_copy, path, entry) -> None:
    manifest = json.loads((run_copy / "manifest.json").read_text())
    _put(manifest, path, entry)
    (run_copy / "manifest.json").write_text(json.dumps(manifest))
    assert verify_run(run_copy) == ["manifest.json has changed since it was written: its checksum differs."]


def test_a_bit_flipped_anywhere_in_the_manifest_is_found(run_copy) -> None:
    path = run_copy / "manifest.json"
    content = path.read_bytes()
    for at in range(0, len(content), 41):
        changed = bytearray(content)
        changed[at] ^= 1 << at % 7
        path.write_bytes(changed)
        assert verify_run(run_copy), content[at - 20 : at + 20]


def test_a_run_from_before_manifests_had_checksums_is_sound(run_copy) -> None:
    path = run_copy / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["checksum"]
    path.write_text(json.dumps(manifest))
    assert verify_run(run_copy) == []


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe{", b'{"schema": 3}', b'{"schema": 3, "state": []}'])
def test_what_is_no_manifest_is_refused_in_a_sentence(run_copy, content) -> None:
    (run_copy / "manifest.json").write_bytes(content)
    (problem,) = verify_run(run_copy)
    assert "manifest.json" in problem


def test_a_folder_in_the_manifests_place(run_copy) -> None:
    (run_copy / "manifest.json").unlink()
    (run_copy / "manifest.json").mkdir()
    (problem,) = verify_run(run_copy)
    assert "manifest.json is damaged" in problem


def test_a_run_in_folders_that_are_links_is_sound(run_copy, tmp_path) -> None:
    shutil.move(run_copy / "routing", tmp_path / "elsewhere")
    (run_copy / "routing").symlink_to(tmp_path / "elsewhere")
    assert verify_run(run_copy) == []
