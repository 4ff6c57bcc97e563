"""The model on a GPU that is not there: the processor's numbers, no tensor left on the host, and every wait named."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from monet_model import MonetForCausalLM
from monet_model.record import record_pass

from ..stand_in.gpu import Gpu, StandIn, moved
from .conftest import GOLDEN, build_model

IDS = torch.tensor([[1, 20, 30, 44, 50, 7, 9], [1, 21, 33, 44, 11, 8, 3]])
PADDED = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1]])
LAYERS, GROUPS = 4, 2

# Of one pass: how wide the lists of active keys are, for each router and key set, and whether the lists that an expert
# layer is given name keys that there are, without which its kernel would write outside its memory.
OPS = {"cuda_ext/sparse.py:read_numbers to the host": 2 * GROUPS + LAYERS}
# Which of an edit's matrices occur at the tokens of a pass, as sums of the others are not formed; in both layers of the
# edited group, the experts are then summed once under each.
PLACED = {"monet_model/positions.py:of to the host": 1, "cuda_ext/sparse.py:read_numbers to the host": 2}
# Transformers asks whether a mask that it is given leaves anything out.
MASKED = {"monet_model/modeling.py:forward local_scalar_dense": 2}


@pytest.fixture(params=["vertical", "horizontal"])
def model(request: pytest.FixtureRequest) -> MonetForCausalLM:
    """A random model of each decomposition."""
    return build_model(moe_decompose=request.param)


def _edit(model: MonetForCausalLM, positions: Any = None) -> Any:
    """An edit of the second group; ``positions`` None for everywhere, False for no edit."""
    if positions is False:
        return nullcontext()
    factors = torch.rand(8, 8, generator=torch.Generator().manual_seed(1)) * 2
    return model.edit_experts({2: factors}, positions)


def _times(count: int, *waits: dict[str, int]) -> Counter[str]:
    """The waits of so many passes."""
    return Counter({name: count * number for name, number in sum(map(Counter, waits), Counter[str]()).items()})


@pytest.mark.parametrize(
    ("positions", "options", "waits"),
    [
        (False, {}, [OPS]),
        (None, {}, [OPS]),
        ([2, slice(4, None)], {}, [OPS, PLACED]),
        (False, {"attention_mask": PADDED}, [OPS, MASKED]),
        ([1], {"attention_mask": PADDED}, [OPS, MASKED, PLACED]),
        (False, {"output_router_probs": True, "labels": IDS}, [OPS]),
    ],
    ids=["plain", "edited", "edited somewhere", "padded on the left", "padded and edited", "with labels"],
)
def test_a_pass_waits_for_nothing_else(
    gpu: Gpu, model: MonetForCausalLM, positions: Any, options: dict[str, Any], waits: list[dict[str, int]]
) -> None:
    with torch.inference_mode(), _edit(model, positions):
        expected = model(IDS, use_cache=False, **options)
    there = moved(model)
    with gpu.on(), torch.inference_mode(), _edit(there, positions):
        placed = {name: one.to("cuda") if isinstance(one, Tensor) else one for name, one in options.items()}
        ids = IDS.to("cuda")
        gpu.waits.clear()
        out = there(ids, use_cache=False, **placed)
        assert gpu.waits == _times(1, *waits)
        for name in ("logits", "loss", "router_probs"):
            _same(getattr(out, name), getattr(expected, name))


def test_a_long_batch_is_read_in_one_piece(gpu: Gpu, model: MonetForCausalLM) -> None:
    """A processor reads it in many, for its cache; a GPU would wait for each."""
    ids = torch.randint(61, (8, 60), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(ids).logits
    there = moved(model)
    with gpu.on(), torch.inference_mode():
        placed = ids.to("cuda")
        gpu.waits.clear()
        logits = there(placed, use_cache=False).logits
        assert gpu.waits == OPS
        _same(logits, expected)


def _same(there: Any, here: Any) -> None:
    if here is None:
        assert there is None
    elif isinstance(here, Tensor):
        assert isinstance(there, StandIn)
        torch.testing.assert_close(there.cpu(), here, rtol=1e-4, atol=1e-5)
    else:
        for one, other in zip(there, here, strict=True):
            _same(one, other)


def test_an_edit_travels_once(gpu: Gpu, model: MonetForCausalLM) -> None:
    """Not in every layer of every pass."""
    there = moved(model)
    with gpu.on(), torch.inference_mode():
        ids = IDS.to("cuda")
        gpu.waits.clear()
        with _edit(there):
            there(ids, use_cache=False)
            there(ids, use_cache=False)
        assert gpu.waits == _times(2, OPS) | {"monet_model/edits.py:apply_edits to the GPU": 1}


def test_nested_edits_meet_on_the_models_device(gpu: Gpu, model: MonetForCausalLM) -> None:
    half = torch.full((8, 8), 0.5)
    with torch.no_grad(), model.edit_experts({0: half}), model.edit_experts({0: half}):
        expected = model(IDS).logits
    there = moved(model)
    with gpu.on(), torch.no_grad(), there.edit_experts({0: half}), there.edit_experts({0: half.to("cuda")}):
        _same(there(IDS.to("cuda")).logits, expected)


def test_a_cache_grows_where_the_model_is(gpu: Gpu, model: MonetForCausalLM) -> None:
    with torch.no_grad(), _edit(model, slice(5, None)):
        expected = model(IDS, use_cache=False).logits
    there = moved(model)
    with gpu.on(), torch.no_grad(), _edit(there, slice(5, None)):
        ids = IDS.to("cuda")
        first = there(ids[:, :5], use_cache=True)
        gpu.waits.clear()
        second = there(ids[:, 5:], past_key_values=first.past_key_values, use_cache=True)
        assert gpu.waits == OPS | {"monet_model/positions.py:of to the host": 1}  # one matrix holds at all of them
        _same(torch.cat([first.logits, second.logits], 1), expected)


def test_gradients(gpu: Gpu, model: MonetForCausalLM) -> None:
    def gradient(of: MonetForCausalLM, ids: Tensor) -> Tensor:
        embedded = of.model.embed_tokens(ids).detach().requires_grad_()
        (found,) = torch.autograd.grad(of(inputs_embeds=embedded, use_cache=False).logits.square().sum(), embedded)
        return found

    expected, there = gradient(model, IDS), moved(model)
    with gpu.on():
        ids = IDS.to("cuda")
        gpu.waits.clear()
        found = gradient(there, ids)
        assert gpu.waits == OPS
        _same(found, expected)


def test_a_record_is_where_the_model_is(gpu: Gpu, model: MonetForCausalLM) -> None:
    there = moved(model)
    with gpu.on(), torch.no_grad(), _edit(there, [2]):
        ids = IDS.to("cuda")
        gpu.waits.clear()
        record, _ = record_pass(there, lambda: there(ids, use_cache=False))
        part = record.row(1)
        at = torch.tensor([0, 0], device="cuda"), torch.tensor([1, 2], device="cuda")
        routing = part.layers[2].routing_at(at)
        assert gpu.waits == _times(1, OPS, PLACED, {"tests to the GPU": 2})
        tensors = [record.embedded, record.final, routing.probs1, routing.indices2]
        tensors += [one for layer in record.layers for one in (layer.heads, layer.x, layer.output)]
        assert {type(one) for one in tensors} == {StandIn}


def test_held_weights_are_widened_there(gpu: Gpu) -> None:
    from monet_model.held import hold_weights

    model = hold_weights(build_model().to(torch.bfloat16))
    with torch.no_grad():
        expected = model(IDS).logits
    there = moved(model)
    with gpu.on(), torch.no_grad():
        ids = IDS.to("cuda")
        gpu.waits.clear()
        logits = there(ids, use_cache=False).logits
        assert gpu.waits == OPS
        _same(logits, expected)


@pytest.mark.parametrize("name", ["tiny-vd", "tiny-hd"])
def test_the_lens_runs_there(gpu: Gpu, name: str) -> None:
    from monet_model import load_lens

    lens = load_lens(GOLDEN / name, device="cpu")
    ids = IDS[:1]
    with torch.no_grad():
        expected = lens(ids)
    there = moved(lens)
    with gpu.on(), torch.no_grad():
        logits, cache = there.run_with_cache(ids.to("cuda"))
        _same(logits, expected)
        assert {type(cache[f"blocks.0.mlp.hook_{value}1"]) for value in ("logits", "threshold", "g")} == {StandIn}
