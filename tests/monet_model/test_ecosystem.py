"""The model in the hands of other libraries: accelerate, pipelines, device maps, the compiler."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, pipeline

from monet_model import MonetForCausalLM, Routing

IDS = torch.tensor([[3, 17, 8, 44, 59, 21, 5], [9, 9, 30, 12, 2, 60, 33]])
EXPERTS = {"vertical": ["u1", "u2", "v11", "v12", "v21", "v22"], "horizontal": ["u", "v"]}
DECOMPOSITIONS = pytest.mark.parametrize("decompose", ["vertical", "horizontal"])


@DECOMPOSITIONS
@torch.no_grad()
def test_module_hooks_fire_on_every_projection(make_model: Any, decompose: str) -> None:
    """PyTorch's own hooks see the experts' projections, however many tokens there are."""
    moe = make_model(moe_decompose=decompose).model.layers[0].moe
    seen: list[str] = []
    for name, projection in moe.named_children():
        projection.register_forward_hook(lambda *_, name=name: seen.append(name))
    for tokens in (3, 300):
        moe(torch.randn(tokens, 24), Routing.from_dense(*torch.rand(2, tokens, 2, 8)))
        assert sorted(seen) == sorted(EXPERTS[decompose])
        seen.clear()


@torch.no_grad()
@pytest.mark.parametrize("place", ["cpu", "auto", "disk"])
def test_device_maps_keep_the_logits(make_model: Any, tmp_path: Path, place: str) -> None:
    model = make_model(num_hidden_layers=2)
    model.save_pretrained(tmp_path / "model")
    where: Any = place
    if place == "disk":
        where = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk",
                 "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}  # fmt: skip
    placed = MonetForCausalLM.from_pretrained(tmp_path / "model", device_map=where, offload_folder=tmp_path / "off")
    assert torch.allclose(placed(IDS).logits, model(IDS).logits, atol=1e-6)
    with placed.edit_experts({0: torch.zeros(8, 8)}), model.edit_experts({0: torch.zeros(8, 8)}):
        assert torch.allclose(placed(IDS).logits, model(IDS).logits, atol=1e-6)


def test_accelerate_steps_equal_plain_steps(make_model: Any) -> None:
    """A step prepared and taken by accelerate is the plain step."""
    accelerator = Accelerator(cpu=True)
    losses = []
    for prepare in (lambda *pair: pair, accelerator.prepare):
        model = make_model().train()
        model, optimiser = prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-2))
        for _ in range(3):
            optimiser.zero_grad()
            loss = model(IDS, labels=IDS).loss
            accelerator.backward(loss)
            optimiser.step()
            losses.append(loss.item())
    assert losses[:3] == pytest.approx(losses[3:], rel=1e-5)
    assert losses[2] < losses[0]


def test_text_generation_pipeline(make_model: Any) -> None:
    words = {"<pad>": 0, "<s>": 1} | {f"w{i}": i for i in range(2, 61)}
    backend = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", pad_token="<pad>", padding_side="left"
    )
    model = make_model()
    pipe = pipeline("text-generation", model=model, tokenizer=tokenizer, device="cpu")
    made = pipe(["w5 w6 w7", "w8"], max_new_tokens=4, do_sample=False, batch_size=2, return_full_text=False)
    for prompt, (output,) in zip((torch.tensor([[5, 6, 7]]), torch.tensor([[8]])), made, strict=True):
        expected = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=4, do_sample=False)
        assert output["generated_text"] == tokenizer.decode(expected[0, prompt.shape[1] :])


@torch.no_grad()
def test_whole_model_compiles(make_model: Any, error: Any) -> None:
    """In one graph, edited or not; the edits of the thread that calls count, not those of the one that compiled."""
    model = make_model(moe_experts=40, moe_topk=2, num_hidden_layers=1)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    plain = model(IDS).logits
    assert error(compiled(IDS, use_cache=False).logits, plain) < 1e-5
    for _ in range(2):
        with model.edit_experts({0: torch.rand(40, 40)}):
            edited = model(IDS).logits
            assert error(edited, plain) > 1e-3
            assert error(compiled(IDS, use_cache=False).logits, edited) < 1e-5
            with ThreadPoolExecutor(1) as pool, torch.no_grad():
                elsewhere = pool.submit(lambda: compiled(IDS, use_cache=False).logits.detach()).result()
            assert error(elsewhere, plain) < 1e-5
    assert error(compiled(IDS, use_cache=False).logits, plain) < 1e-5


@torch.no_grad()
def test_model_copies_and_state_dicts(make_model: Any) -> None:
    """Deep copies are independent; a state dict carries everything that matters."""
    model = make_model()
    twin = copy.deepcopy(model)
    other = make_model(seed=1)
    assert torch.equal(twin(IDS).logits, model(IDS).logits)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(IDS).logits, model(IDS).logits)
    model.resize_token_embeddings(70)
    assert model(IDS).logits.shape[-1] == 70
    assert twin(IDS).logits.shape[-1] == 61
