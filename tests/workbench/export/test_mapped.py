"""Mapped weights: their pages leave the process's memory when their layer has been read, and no number changes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from monet_model import MonetConfig, MonetForCausalLM
from monet_model.held import stored_weight
from workbench.checkpoint import load_model
from workbench.export.export import _batch_size
from workbench.export.mapped import giving_back

linux = pytest.mark.skipif(sys.platform != "linux", reason="pages are given back on Linux only")
SIZES = {"vocab_size": 96, "hidden_size": 256, "num_attention_heads": 2, "num_key_value_heads": 2, "moe_heads": 2}
SIZES |= {"num_hidden_layers": 2, "moe_groups": 1, "moe_experts": 64, "moe_topk": 4, "moe_dim": 16}


@pytest.fixture
def mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MonetForCausalLM:
    """A model in bfloat16, held as it lies in its file."""
    torch.manual_seed(0)
    MonetForCausalLM(MonetConfig(**SIZES)).to(torch.bfloat16).save_pretrained(tmp_path / "model")
    monkeypatch.setattr("workbench.checkpoint.HELD_BYTES", 0)
    return load_model(tmp_path / "model")


def resident() -> int:
    """Bytes of the model's file in this process's memory."""
    size, of_model = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *rest = line.split()
        if "-" in first and not first.endswith(":"):
            of_model = bool(rest) and rest[-1].endswith("model.safetensors")
        elif first == "Rss:" and of_model:
            size += int(rest[0]) * 1024
    return size


@linux
@torch.inference_mode()
def test_pages_leave_memory_and_numbers_stay(mapped) -> None:
    ids = torch.arange(40)[None]
    expected, before = mapped(ids).logits, resident()
    held = sum(stored_weight(one).nbytes for one in mapped.model.layers.modules() if isinstance(one, torch.nn.Linear))
    assert before >= held > 10**6
    with giving_back(mapped):
        assert before - resident() > 0.9 * held
        assert torch.equal(mapped(ids).logits, expected)
        assert before - resident() > 0.9 * held
    assert torch.equal(mapped(ids).logits, expected)
    assert resident() == before
    assert not any(layer._forward_hooks for layer in mapped.model.layers)


@linux
@torch.no_grad()
def test_a_changed_weight_keeps_its_change(mapped) -> None:
    ids = torch.arange(40)[None]
    stored_weight(mapped.model.layers[0].moe.u1).mul_(2)
    expected = mapped(ids).logits
    with giving_back(mapped):
        assert torch.equal(mapped(ids).logits, expected)
        stored_weight(mapped.model.layers[1].moe.u1).mul_(2)
        expected = mapped(ids).logits
        assert torch.equal(mapped(ids).logits, expected)


def test_a_model_that_is_not_mapped_is_left_alone() -> None:
    model = MonetForCausalLM(MonetConfig(**SIZES)).eval()
    with giving_back(model):
        assert not any(layer._forward_hooks for layer in model.model.layers)


@pytest.mark.parametrize(("hidden", "windows"), [(256, 16), (1536, 4), (2048, 3), (10**6, 1)])
def test_a_wide_model_reads_fewer_windows_at_once(hidden: int, windows: int) -> None:
    with torch.device("meta"):
        model = MonetForCausalLM(MonetConfig(**SIZES))
    model.config.hidden_size = hidden
    assert _batch_size(model.to_empty(device="cpu"), 256) == windows
