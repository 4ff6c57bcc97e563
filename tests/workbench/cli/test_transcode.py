"""`monet transcode` from its arguments to the model, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM

from workbench import load_model
from workbench.cli import main

SMALL = ["--experts", "8", "--heads", "1", "--topk", "2", "--moe-dim", "2", "--tokens", "256", "--sequence", "16"]
SMALL += ["--batch", "4", "--heldout-sequences", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
    folder = tmp_path_factory.mktemp("teacher")
    LlamaForCausalLM(LlamaConfig(**shape, vocab_size=64, max_position_embeddings=32)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    rows = [{"input_ids": rng.integers(0, 64, 40).tolist(), "label": "ab"[n % 2]} for n in range(40)]
    path = tmp_path_factory.mktemp("corpus") / "corpus.parquet"
    Dataset.from_list(rows).to_parquet(path)
    return path


def test_a_model_is_made_and_its_figures_are_printed(
    teacher: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["transcode", str(teacher), str(corpus), "--layers", "1-2", "--out", str(tmp_path / "out"), *SMALL]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "of cross-entropy recovered" in printed
    assert f"The model is in {tmp_path / 'out'}." in printed
    assert load_model(tmp_path / "out").config.dense_layers == [0]


def test_seeds_have_folders_of_their_own(
    teacher: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["transcode", str(teacher), str(corpus), "--layers", "1", "--out", str(tmp_path), *SMALL]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--seeds", "2", "--json"])
    assert ended.value.code == 0
    printed = json.loads(capsys.readouterr().out)
    assert [run["settings"]["seed"] for run in printed["runs"]] == [0, 1]
    assert printed["comparison"] == []
    for number, run in enumerate(printed["runs"]):
        kept = json.loads((tmp_path / f"seed-{number}" / "transcode.json").read_text(encoding="utf-8"))
        assert kept["loss"] == pytest.approx(run["loss"])
    assert (tmp_path / "cache" / "cache.json").is_file()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["--layers", "9"], "has no layer 9; its layers are 0 to 2"),
        (["--layers", "x"], "--layers takes layers and spans"),
        (["--layers", "1", "--topk", "8"], "moe_topk (8) must be below moe_experts (8)"),
        (["--layers", "1", "--seeds", "0"], "--seeds must be at least 1"),
    ],
)
def test_bad_requests_end_with_a_sentence(
    teacher: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["transcode", str(teacher), str(corpus), "--out", str(tmp_path / "out"), *SMALL, *changed])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_an_interruption_says_how_to_go_on(
    teacher: Path,
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench.transcode.transcode", interrupted)
    monkeypatch.setattr("sys.argv", ["monet", "transcode", "T"])
    with pytest.raises(SystemExit) as ended:
        main(["transcode", str(teacher), str(corpus), "--layers", "1", "--out", str(tmp_path / "out"), *SMALL])
    assert ended.value.code == 130
    assert "Go on with: monet transcode T --resume" in capsys.readouterr().err
