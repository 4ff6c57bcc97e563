"""Fine-tuning: routers stay as they are unless told otherwise, and LoRA adapters work on attention and experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from monet_model import MonetForCausalLM
from monet_model.router import MonetRouter

IDS = torch.tensor([[3, 17, 8, 44, 59, 21, 5], [9, 9, 30, 12, 2, 60, 33]])
LONG = torch.arange(3, 59).repeat(2, 1)  # more tokens than the model is wide: weights are permuted, not activations
EXPERTS = {"vertical": ["u1", "u2", "v11", "v12", "v21", "v22"], "horizontal": ["u", "v"]}


def routers(model: torch.nn.Module) -> dict[str, Tensor]:
    """Copies of the routers' weights and statistics."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items() if ".router." in name}


def train(model: Any, steps: int = 10) -> list[float]:
    """Losses of a few steps on one batch."""
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = model(IDS, labels=IDS).loss
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_fine_tuning_leaves_the_routers_alone(make_model: Any, tmp_path: Path) -> None:
    """Of a checkpoint, unless told otherwise; a new model trains them."""
    make_model().save_pretrained(tmp_path)
    for loader in (MonetForCausalLM, AutoModelForCausalLM):
        model = loader.from_pretrained(tmp_path).train()
        before = routers(model)
        losses = train(model)
        assert losses[-1] < losses[0]
        assert all(torch.equal(tensor, before[name]) for name, tensor in routers(model).items())
    for model in (MonetForCausalLM.from_pretrained(tmp_path, freeze_routers=False).train(), make_model().train()):
        before = routers(model)
        train(model, 1)
        assert not any(torch.equal(tensor, before[name]) for name, tensor in routers(model).items())


def test_freezing_routers_can_be_undone(make_model: Any) -> None:
    model = make_model().train()
    model.freeze_routers()
    routing = [module for module in model.modules() if isinstance(module, MonetRouter)]
    assert model.training
    assert not any(router.training or router.norm1.training or router.w1.weight.requires_grad for router in routing)
    model.freeze_routers(False)
    assert all(router.train().norm1.training and router.w1.weight.requires_grad for router in routing)


@pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
def test_lora_trains_and_merges(make_model: Any, tmp_path: Path, error: Any, decompose: str) -> None:
    """On attention and experts, however many tokens there are, edited or not, and merged in the end."""
    peft = pytest.importorskip("peft", reason="LoRA is tested where peft is installed, as by the test extra")
    make_model(moe_decompose=decompose, moe_experts=40, moe_topk=2).save_pretrained(tmp_path / "base")
    base = MonetForCausalLM.from_pretrained(tmp_path / "base")
    with torch.no_grad():
        plain = base(LONG).logits
    config = peft.LoraConfig(
        r=4, target_modules=["q_proj", "v_proj", *EXPERTS[decompose]], task_type="CAUSAL_LM", lora_dropout=0.0
    )
    model = peft.get_peft_model(base, config).train()
    before = routers(model)
    losses = train(model)
    assert losses[-1] < losses[0]
    moved = [p for name, p in model.named_parameters() if "lora_B" in name]
    assert len(moved) == 4 * len(config.target_modules)
    assert all(p.abs().max() > 0 for p in moved)
    assert all(torch.equal(tensor, before[name]) for name, tensor in routers(model).items())

    model.eval().save_pretrained(tmp_path / "adapter")
    fresh = MonetForCausalLM.from_pretrained(tmp_path / "base").eval()
    again = peft.PeftModel.from_pretrained(fresh, tmp_path / "adapter").eval()
    edits = {0: torch.rand(40, 40)}
    with torch.no_grad():
        few, many = model(IDS).logits, model(LONG).logits
        with base.edit_experts(edits):
            edited = model(LONG).logits
        assert error(again(IDS).logits, few) < 1e-5
        assert error(again(LONG).logits, many) < 1e-5
        merged = again.merge_and_unload()
        assert error(merged(IDS).logits, few) < 1e-4
        assert error(merged(LONG).logits, many) < 1e-4
        with merged.edit_experts(edits):
            assert error(merged(LONG).logits, edited) < 1e-4
    assert error(many, plain) > 1e-2


def test_lora_on_all_linear_layers_can_leave_the_routers_out(make_model: Any) -> None:
    """Frozen routers keep their weights under "all-linear", but adapters would move the routing: they are excluded."""
    peft = pytest.importorskip("peft", reason="LoRA is tested where peft is installed, as by the test extra")
    base = make_model()
    base.freeze_routers()
    config = peft.LoraConfig(target_modules="all-linear", exclude_modules=["w1", "w2"], task_type="CAUSAL_LM")
    model = peft.get_peft_model(base, config)
    assert len(model.targeted_module_names) == 4 * (4 + 6)  # attention and experts of each layer
    assert not any("router" in name for name in model.targeted_module_names)
