"""What cannot be exported is refused with a clear word, and leaves nothing half-written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from filelock import FileLock
from safetensors.torch import load_file, save_file

from workbench.errors import WorkbenchError
from workbench.export import export, export_run, folder
from workbench.store import files, open_run, verify_run

GOLDEN = Path(__file__).parents[2] / "golden"
MODEL = GOLDEN / "tiny-vd"
ROWS = [{"input_ids": [1, 5, 9, number + 3], "label": "ab"[number % 2]} for number in range(12)]


@pytest.fixture
def corpus(tmp_path) -> Path:
    Dataset.from_list(ROWS).to_parquet(str(tmp_path / "corpus.parquet"))
    return tmp_path / "corpus.parquet"


@pytest.fixture
def run(tmp_path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def half_run(corpus, run, monkeypatch) -> Path:
    """A run whose export broke off after two of its parts."""
    done = export._save_totals

    def broken(path: Path, manifest: dict[str, Any], totals: list[Any]) -> None:
        done(path, manifest, totals)
        if len(manifest["parts"]) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(export, "_save_totals", broken)
        with pytest.raises(KeyboardInterrupt):
            export_run(MODEL, corpus, run, part_tokens=9)
    return run


def _refused(said: str, *arguments: Any, **settings: Any) -> None:
    """Refused with these words, and the run's folder is as it was."""
    run = Path(arguments[2])
    before = {p: p.read_bytes() if p.is_file() else None for p in [run, *run.rglob("*")] if p.exists()}
    with pytest.raises(WorkbenchError, match=said):
        export_run(*arguments, **settings)
    after = {p: p.read_bytes() if p.is_file() else None for p in [run, *run.rglob("*")] if p.exists()}
    lock = run / folder.LOCK
    assert {p: b for p, b in after.items() if p != lock} == {p: b for p, b in before.items() if p != lock}


def test_export_refuses_a_missing_model(corpus, run, tmp_path) -> None:
    _refused("there is no model folder", tmp_path / "nowhere", corpus, run)


def test_export_refuses_a_broken_model(corpus, run, tmp_path) -> None:
    model = Path(shutil.copytree(MODEL, tmp_path / "model"))
    (model / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:900])
    _refused("truncated", model, corpus, run)


def test_export_refuses_a_missing_corpus(run, tmp_path) -> None:
    _refused("there is no corpus at", MODEL, tmp_path / "nowhere.parquet", run)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"input_ids": [5, 9]}], "no column `label`"),
        ([{"label": "a"}], "neither `text` nor `input_ids`"),
        ([{"input_ids": [1], "label": "a"}], "holds no tokens"),
        ([*ROWS, {"input_ids": [5, 128], "label": "a"}], "document 12 of the corpus has token id 128; .* 0 to 127"),
        ([{"input_ids": [-1], "label": "a"}], "token id -1"),
        ([{"text": "print(1)", "label": "a"}], "no tokenizer.json to read it with"),
    ],
)
def test_export_refuses_an_unusable_corpus(run, tmp_path, rows, said) -> None:
    Dataset.from_list(rows).to_parquet(str(tmp_path / "rows.parquet"))
    _refused(said, MODEL, tmp_path / "rows.parquet", run)


def test_export_refuses_an_empty_corpus(run, tmp_path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    _refused("empty", MODEL, tmp_path / "empty.jsonl", run)


def test_export_refuses_a_broken_tokenizer(corpus, run, tmp_path) -> None:
    model = Path(shutil.copytree(MODEL, tmp_path / "model"))
    (model / "tokenizer.json").write_text("{}")
    _refused("the tokenizer in .* cannot be read", model, corpus, run)


@pytest.mark.parametrize("name", ["batch_size", "context", "limit", "part_tokens", "examples", "examples_per_document"])
def test_export_refuses_settings_below_one(corpus, run, name) -> None:
    _refused(f"{name} must be at least 1", MODEL, corpus, run, **{name: 0})


def test_export_refuses_a_context_beyond_the_model(corpus, run) -> None:
    _refused("context 65 is more than the model's 64", MODEL, corpus, run, context=65)


def test_export_refuses_more_statistics_than_memory_holds(corpus, run, monkeypatch) -> None:
    monkeypatch.setattr(export, "physical_memory", lambda: 10**5)
    _refused(r"2 groups of 256 experts by 2 labels take .* this machine has", MODEL, corpus, run)


def test_export_refuses_a_file_in_place_of_the_run(corpus, run) -> None:
    run.write_text("mine")
    _refused("is a file", MODEL, corpus, run)


def test_export_refuses_a_file_above_the_run(corpus, tmp_path) -> None:
    (tmp_path / "file").write_text("mine")
    _refused("cannot be written", MODEL, corpus, tmp_path / "file" / "run")


def test_export_refuses_a_folder_of_something_else(corpus, run) -> None:
    run.mkdir()
    (run / "thesis.txt").write_text("mine")
    _refused("not empty and holds no run", MODEL, corpus, run)


def test_export_keeps_a_complete_run(corpus, run) -> None:
    export_run(MODEL, corpus, run)
    _refused("already holds a complete run", MODEL, corpus, run)
    before = (run / "manifest.json").read_bytes()
    export_run(MODEL, corpus, run, resume=True)
    assert (run / "manifest.json").read_bytes() == before


def test_export_names_a_half_written_run(corpus, half_run) -> None:
    _refused("half-written run; continue it with --resume", MODEL, corpus, half_run, part_tokens=9)
    with pytest.raises(WorkbenchError, match="half-written"):
        open_run(half_run)
    assert any("half-written" in problem for problem in verify_run(half_run))
    export_run(MODEL, corpus, half_run, part_tokens=9, resume=True)
    assert verify_run(half_run) == []
    assert open_run(half_run).tokens_total == 3 * len(ROWS)


def test_resuming_with_another_model_is_refused(corpus, half_run) -> None:
    _refused("begun with another model", GOLDEN / "tiny-hd", corpus, half_run, part_tokens=9, resume=True)


def test_resuming_with_other_weights_is_refused(corpus, half_run, tmp_path) -> None:
    model = Path(shutil.copytree(MODEL, tmp_path / "model"))
    weights = load_file(model / "model.safetensors")
    weights["lm_head.weight"][0, 0] += 1
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    _refused("begun with another model", model, corpus, half_run, part_tokens=9, resume=True)


def test_resuming_with_another_corpus_is_refused(half_run, tmp_path) -> None:
    changed = [*ROWS[:-1], ROWS[-1] | {"label": "a"}]
    Dataset.from_list(changed).to_parquet(str(tmp_path / "changed.parquet"))
    _refused("begun with another corpus", MODEL, tmp_path / "changed.parquet", half_run, part_tokens=9, resume=True)


def test_resuming_with_a_tokenizer_is_refused(corpus, half_run, tmp_path, byte_tokenizer) -> None:
    model = Path(shutil.copytree(MODEL, tmp_path / "model"))
    byte_tokenizer.save_pretrained(model)
    _refused("begun with another tokenizer", model, corpus, half_run, part_tokens=9, resume=True)


def test_resuming_with_other_settings_is_refused(corpus, half_run) -> None:
    _refused("begun with part_tokens 9, not 10", MODEL, corpus, half_run, part_tokens=10, resume=True)


@pytest.mark.parametrize("name", ["state/part-00001-group-0.npz", "tokens/part-00000.parquet"])
def test_resuming_a_damaged_run_is_refused(corpus, half_run, name) -> None:
    file = half_run / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    _refused(f"{name} has changed", MODEL, corpus, half_run, part_tokens=9, resume=True)


@pytest.mark.parametrize(
    ("schema", "message"), [(1, "schema version 1 and its export is unfinished"), (99, "has schema version 99")]
)
def test_resuming_a_run_of_another_schema_is_refused(corpus, half_run, schema, message) -> None:
    manifest = json.loads((half_run / "manifest.json").read_text())
    (half_run / "manifest.json").write_text(json.dumps(manifest | {"schema": schema}))
    _refused(message, MODEL, corpus, half_run, part_tokens=9, resume=True)


def test_second_export_into_one_run_is_refused(corpus, half_run) -> None:
    with FileLock(half_run / folder.LOCK):
        _refused("another export is writing", MODEL, corpus, half_run, part_tokens=9, resume=True)


def test_export_names_a_disk_full_before_the_first_part(corpus, run, monkeypatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    _refused("cannot be written: .*No space left on device", MODEL, corpus, run)


def test_export_names_a_disk_full_later(corpus, half_run, monkeypatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        _refused("make room and continue with --resume", MODEL, corpus, half_run, part_tokens=9, resume=True)
    export_run(MODEL, corpus, half_run, part_tokens=9, resume=True)
    assert verify_run(half_run) == []


def test_export_names_a_read_only_place(corpus, run, monkeypatch) -> None:
    make = Path.mkdir

    def refused(path: Path, *rest: Any, **settings: Any) -> None:
        if path == run:
            raise OSError(30, "Read-only file system")
        make(path, *rest, **settings)

    monkeypatch.setattr(Path, "mkdir", refused)  # permissions hold nobody back who tests as root
    _refused("cannot be written: .*Read-only file system", MODEL, corpus, run)


def test_resuming_without_the_corpus_is_refused(corpus, half_run) -> None:
    corpus.unlink()
    _refused("there is no corpus at", MODEL, corpus, half_run, part_tokens=9, resume=True)


def test_a_model_that_breaks_down_on_a_document(corpus, run, tmp_path) -> None:
    model = Path(shutil.copytree(MODEL, tmp_path / "model"))
    weights = load_file(model / "model.safetensors")
    weights["model.layers.0.self_attn.v_proj.weight"].fill_(3e38)
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    _refused("cannot route a context window of document 0 or one after it", model, corpus, run)
