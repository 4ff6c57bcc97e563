"""The rehearsal: a checkpoint laid out as published ones, every step on it, resuming, and its refusals."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from sentencepiece import SentencePieceTrainer

import workbench.rehearsal.__main__ as command
from workbench import load_model, open_run
from workbench.dashboard.application import draw
from workbench.dashboard.context import Context
from workbench.dashboard.pages import PAGES, read_address
from workbench.errors import UnsupportedError
from workbench.progress import silent
from workbench.rehearsal import checkpoint, steps


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    SentencePieceTrainer.train(
        input="README.md",
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=600,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return folder / "tokenizer.model"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tokenizer: Path) -> dict[str, Any]:
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "moe_dim": 4, "moe_heads": 2, "num_hidden_layers": 6}
    monkeypatch.setitem(checkpoint.SHAPES, "850M", sizes)
    monkeypatch.setattr(checkpoint, "VOCABULARY", 600)
    monkeypatch.setattr(command, "published_tokenizer", lambda: tokenizer)
    return checkpoint.published_config("850M") | {"moe_experts": 32}


def test_a_checkpoint_is_laid_out_as_published_ones_are(small: dict[str, Any], tokenizer: Path, tmp_path: Path) -> None:
    counted: list[float] = []
    checkpoint.write_checkpoint(tmp_path, small, tokenizer, lambda units=1, note="": counted.append(units))
    files = sorted(file.name for file in tmp_path.glob("*.safetensors"))
    assert len(files) == checkpoint.SHARDS
    index = json.loads((tmp_path / checkpoint.INDEX).read_text())
    assert set(index["weight_map"].values()) == set(files)
    for name, file in index["weight_map"].items():
        with safe_open(tmp_path / file, framework="pt") as weights:
            kind = weights.get_tensor(name).dtype
        wanted = torch.int64 if "num_batches" in name else torch.float32 if "running" in name else torch.bfloat16
        assert kind == wanted, name
    model = load_model(tmp_path, device="cpu")
    assert sum(counted) == sum(one.numel() for one in model.state_dict().values())
    routing = model(torch.arange(2, 150)[None], output_router_probs=True).router_probs[0][0]
    active = (routing > 0).float().sum(-1).mean()
    assert 4 < active < 16  # moe_topk is 8


def test_shards_that_are_there_are_kept(small: dict[str, Any], tokenizer: Path, tmp_path: Path) -> None:
    checkpoint.write_checkpoint(tmp_path, small, tokenizer, silent)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.safetensors")}
    missing = next(iter(before))
    content = missing.read_bytes()
    missing.unlink()
    checkpoint.write_checkpoint(tmp_path, small, tokenizer, silent)
    assert missing.read_bytes() == content
    assert all(file.stat().st_mtime_ns == at for file, at in before.items() if file != missing)


def test_steps_are_done_once_and_told(
    small: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = {"export", "attribute", "pages"}  # each step takes a process some seconds to start

    def chosen(*paths: Path) -> dict[str, Any]:
        return {name: act for name, act in steps.commands(*paths).items() if name in some}

    monkeypatch.setattr(command, "commands", chosen)
    monkeypatch.setattr(command, "published_config", lambda shape: small)
    arguments = ["--out", str(tmp_path / "all"), "--documents", "2"]
    assert command.main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [step["name"] for step in found["steps"]] == ["export", "attribute, 128 tokens", "pages of the dashboard"]
    assert "s after loading" in found["steps"][1]["note"]
    exported, attributed, opened = found["steps"]
    assert exported["tokens"] == open_run(tmp_path / "all" / "run").tokens_total
    assert exported["tokens_per_second"] == pytest.approx(exported["tokens"] / exported["seconds"])
    assert attributed["tokens"] == 128
    assert (opened["tokens"], opened["tokens_per_second"]) == (0, None)
    assert all(step["seconds"] > 0 and step["peak_gb"] > 0.05 for step in found["steps"])
    assert 20 < found["steps"][0]["width"] <= 80
    before = (tmp_path / "all" / command.STEPS).read_text()
    assert command.main(arguments) == 2
    assert "--resume" in capsys.readouterr().err
    assert command.main([*arguments, "--resume"]) == 0
    assert (tmp_path / "all" / command.STEPS).read_text() == before
    shown = capsys.readouterr().out
    assert "million weights" in shown
    assert "tokens/s" in shown
    assert command.main(["--out", str(tmp_path / "all"), "--documents", "3", "--resume"]) == 2
    assert "other settings" in capsys.readouterr().err


def test_every_page_of_the_dashboard_is_opened(bare_run_path: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(bare_run_path, tmp_path / "run"))
    paths, ctx = steps.page_paths(run), Context(open_run(run))
    assert list(paths) == [page.name for page in PAGES]
    for name, path in paths.items():
        address = read_address(path, "")
        assert address.page == name
        assert draw(ctx, address).status == 200, path


def test_a_page_that_fails_fails_the_step(monkeypatch: pytest.MonkeyPatch, bare_run_path: Path) -> None:
    class Failing:
        def __init__(self, address: str) -> None:
            pass

        def open(self, path: str) -> int:
            return 1

        def status(self, path: str) -> int:
            return 404 if path == "/gone" else 200

    @contextmanager
    def served(run: Path) -> Iterator[tuple[str, int]]:
        yield "nowhere", 0

    monkeypatch.setattr(steps, "Client", Failing)
    monkeypatch.setattr(steps, "served", served)
    monkeypatch.setattr(steps, "page_paths", lambda run: {"here": "/", "gone": "/gone"})
    with pytest.raises(steps.StepFailedError, match="page gone at /gone was answered with 404"):
        steps.pages(bare_run_path)


def says(code: str) -> list[str]:
    """A command that prints progress in place of `monet`."""
    return [sys.executable, "-c", f"from workbench.progress import job\n{code}"]


def test_tokens_are_those_that_a_bar_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "with job('choose', 3, 'tokens') as advance: advance(3)\nwith job('mask', 9, 'tokens') as advance: advance(9)"
    )
    monkeypatch.setattr(steps, "MONET", says(code))
    step = steps.command("mask, one label", [], counts="mask")
    assert step.tokens == 9
    assert step.rate == 9 / step.seconds


def test_what_a_command_complained_of_has_no_progress_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "MONET", says("with job('mask', 9, 'tokens'): exit('no such label')"))
    with pytest.raises(steps.StepFailedError, match=r"failed \(1\): no such label$"):
        steps.command("mask, one label", ["mask"])


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(steps.StepFailedError, match=r"monet verify .* failed \(1\)(.|\n)*there is no run"):
        steps.command("verify", ["verify", str(tmp_path / "none")])


def test_without_its_tokenizers_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"\.\[rehearsal\]"):
        checkpoint.published_tokenizer()
