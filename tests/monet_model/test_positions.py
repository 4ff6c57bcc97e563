"""Edits that hold at some positions only, against every expert written out with the factors of every token."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from monet_model import ExpertEdit, PositionedEdit, Routing, load_lens
from monet_model.positions import NO_END, read_spans
from monet_model.token_factors import TokenFactors

IDS = torch.tensor([[3, 17, 8, 44, 59, 21, 5], [9, 9, 30, 12, 2, 60, 33]])
DECOMPOSITIONS = pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
PLACES: list[Iterable[int] | slice] = [[0], [2, 4, 5, 6], range(3), slice(4, None), slice(None), [99]]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(11)


def held(positions: Iterable[int] | slice, tokens: int = 7) -> list[int]:
    """The positions of a sequence that an edit holds at."""
    chosen = range(1000)[positions] if isinstance(positions, slice) else positions
    return [at for at in chosen if at < tokens]


def written_out(*edits: tuple[Tensor, Iterable[int] | slice], tokens: int = 7) -> Tensor:
    """(tokens, E, E): the factors of every token."""
    factors = torch.ones(tokens, *edits[0][0].shape)
    for matrix, positions in edits:
        for at in held(positions, tokens):
            factors[at] *= matrix
    return factors


@DECOMPOSITIONS
@torch.no_grad()
def test_layer_equals_explicit_expansion(make_model: Any, oracle: Any, error: Any, decompose: str) -> None:
    """In float64, to the last few digits; tokens without an edit to the last bit."""
    model: Any = make_model(moe_decompose=decompose).double()
    x, a, b = torch.randn(2, 7, 24, dtype=torch.float64), torch.rand(8, 8) * 3 - 1, torch.zeros(8, 8)
    g1, g2 = oracle(model).routing(0, x)
    routing, moe = Routing.from_dense(g1, g2), model.model.layers[1].moe
    which = torch.tensor([0, 1, 1, 0, 2, 0, 1, 2, 2, 1, 0, 0, 0, 1])
    out = moe(x, routing, TokenFactors((None, a, b), which))
    by_token = torch.stack([torch.ones(8, 8), a, b])[which].unflatten(0, (2, 7))
    assert error(out, oracle(model).moe(1, x, g1, g2, by_token)) < 1e-12
    plain = moe(x, routing)
    assert torch.equal(out.flatten(0, 1)[which == 0], plain.flatten(0, 1)[which == 0])


@DECOMPOSITIONS
@pytest.mark.parametrize("positions", PLACES, ids=str)
@torch.no_grad()
def test_model_equals_explicit_expansion(
    make_model: Any, oracle: Any, error: Any, decompose: str, positions: Any
) -> None:
    model, factors = make_model(moe_decompose=decompose), torch.rand(8, 8) * 3 - 1
    with model.edit_experts({0: factors}, positions=positions):
        logits = model(IDS).logits
    assert error(logits, oracle(model)(IDS, {0: written_out((factors, positions))})) < 1e-5
    if (first := min(held(positions), default=7)) > 0:
        assert torch.equal(logits[:, :first], model(IDS).logits[:, :first])


@torch.no_grad()
def test_golden_masks_at_all_positions_are_the_golden_masked_logits(golden: Any, error: Any) -> None:
    expected = golden.expected
    keep = {group.start: expected[f"masked.keep.{group.start}"].float() for group in golden.model.config.routing_groups}
    tokens = expected["input_ids"].shape[1]
    halves = slice(0, tokens // 2), slice(tokens // 2, None)
    with golden.model.edit_experts(keep, halves[0]), golden.model.edit_experts(keep, halves[1]):
        assert error(golden.model(expected["input_ids"]).logits, expected["masked.logits"]) < 1e-5


@torch.no_grad()
def test_golden_masks_at_some_positions_equal_the_oracle(golden: Any, error: Any, oracle: Any) -> None:
    ids, owners = golden.expected["input_ids"], [group.start for group in golden.model.config.routing_groups]
    keep = {layer: golden.expected[f"masked.keep.{layer}"].float() for layer in owners}
    by_token = {layer: written_out((mask, [1, 3]), tokens=ids.shape[1]) for layer, mask in keep.items()}
    with golden.model.edit_experts(keep, [1, 3]):
        assert error(golden.model(ids).logits, oracle(golden.model)(ids, by_token)) < 1e-5


@DECOMPOSITIONS
@torch.no_grad()
def test_edits_multiply_where_they_meet(make_model: Any, oracle: Any, error: Any, decompose: str) -> None:
    model = make_model(moe_decompose=decompose)
    a, b, c = (torch.rand(8, 8) * 2 for _ in range(3))
    plain = model(IDS).logits
    with model.edit_experts({0: a}, [1, 2]), model.edit_experts({0: b, 2: c}), model.edit_experts({0: c}, slice(2, 5)):
        logits = model(IDS).logits
    by_token = written_out((a, [1, 2]), (b, slice(None)), (c, slice(2, 5)))
    assert error(logits, oracle(model)(IDS, {0: by_token, 2: c})) < 1e-5
    assert torch.equal(model(IDS).logits, plain)


@DECOMPOSITIONS
@pytest.mark.parametrize("cache", ["dynamic", "static", None])
def test_positions_go_on_over_generated_tokens(make_model: Any, decompose: str, cache: str | None) -> None:
    """Each token is what the whole sequence, read at once, predicts."""
    model, factors = make_model(moe_decompose=decompose), torch.rand(8, 8) * 3
    options = {"use_cache": False} if cache is None else {"cache_implementation": cache}
    with torch.no_grad(), model.edit_experts({0: factors}, [3, 8, 9]), model.edit_experts({2: factors}, slice(10, 12)):
        written = model.generate(IDS, max_new_tokens=8, do_sample=False, disable_compile=True, **options)
        predicted = model(written).logits.argmax(-1)
    assert torch.equal(predicted[:, 6:-1], written[:, 7:])
    assert not torch.equal(written, model.generate(IDS, max_new_tokens=8, do_sample=False))


@pytest.mark.parametrize("positions", [[2], slice(6, None)], ids=str)
def test_padding_on_the_left_is_not_counted(make_model: Any, error: Any, positions: Any) -> None:
    model, factors = make_model(pad_token_id=0), torch.rand(8, 8) * 3
    short = IDS[:1, :5]
    padded = torch.cat([torch.zeros(1, 2, dtype=torch.int64), short], 1)
    batch, mask = torch.cat([padded, IDS[1:]]), torch.ones(2, 7, dtype=torch.int64)
    mask[0, :2] = 0
    options: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False}
    with torch.no_grad(), model.edit_experts({0: factors}, positions):
        together = model.generate(batch, attention_mask=mask, **options)
        assert torch.equal(together[0, 7:], model.generate(short, **options)[0, 5:])
        assert torch.equal(together[1], model.generate(IDS[1:], **options)[0])
        places = (mask.cumsum(-1) - 1).clamp(min=0)
        logits = model(batch, attention_mask=mask, position_ids=places).logits
        assert error(logits[:1, 2:], model(short).logits) < 1e-5
        seen: list[Tensor] = []  # without position_ids the mask says where the text begins
        hook = model.model.layers[0].moe.register_forward_hook(lambda _module, args, _out: seen.append(args[2].which))
        model(batch, attention_mask=mask)
        hook.remove()
    if positions == [2]:
        assert (seen[0].view(2, 7)[0] != seen[0][0]).nonzero().flatten().tolist() == [4]


@DECOMPOSITIONS
@torch.no_grad()
def test_long_texts_are_read_in_pieces(make_model: Any, error: Any, oracle: Any, decompose: str) -> None:
    model = make_model(moe_decompose=decompose, max_position_embeddings=400)
    ids, factors = torch.randint(2, 61, (1, 300)), torch.rand(8, 8) * 3
    places = [5, 127, 128, 290]
    with model.edit_experts({0: factors}, places):
        logits = model(ids).logits
    assert error(logits, oracle(model)(ids, {0: written_out((factors, places), tokens=300)})) < 1e-5


@torch.no_grad()
def test_an_edit_that_is_built_in_holds_everywhere(make_model: Any, oracle: Any, error: Any) -> None:
    model, a, b = make_model(), torch.rand(8, 8) * 2, torch.rand(8, 8) * 2
    expected = oracle(model)(IDS, {0: written_out((a, slice(None)), (b, [4]))})
    model.build_in({0: a})
    with model.edit_experts({0: b}, [4]):
        assert error(model(IDS).logits, expected) < 1e-5


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_the_factors_where_they_hold(make_model: Any, error: Any, checkpointing: bool) -> None:
    model = make_model().train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    grads = []
    for positions in ([3, 4], None):
        factors = (torch.rand(8, 8) * 2).requires_grad_()
        with model.edit_experts({0: factors}, positions):
            model(IDS, labels=IDS, use_cache=False).loss.backward()
        assert factors.grad is not None
        grads.append(factors.grad)
    assert 0 < int((grads[0] != 0).sum()) < int((grads[1] != 0).sum())


def test_compiled_models_are_edited_at_positions(make_model: Any, error: Any) -> None:
    model, factors = make_model(), torch.rand(8, 8) * 3
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        for positions in ([2, 5], slice(3, None), None):
            with model.edit_experts({0: factors}, positions):
                assert error(compiled(IDS, use_cache=False).logits, model(IDS).logits) < 1e-5
        assert error(compiled(IDS, use_cache=False).logits, model(IDS).logits) < 1e-5


def test_nothing_is_expanded_over_all_experts(make_model: Any, largest: Any) -> None:
    model = make_model(moe_experts=64, moe_topk=3)
    with torch.no_grad(), model.edit_experts({0: torch.rand(64, 64)}, [1, 3]), largest:
        model(IDS)
    assert 0 < largest.size < IDS.numel() * 64 * 64


@torch.no_grad()
def test_edits_of_several_places_are_one_value(make_model: Any) -> None:
    model = make_model()
    one, two = ExpertEdit.from_experts(model, {0: [9, 10]}), ExpertEdit.from_experts(model, {0: [9]}, 3.0)
    with model.edit_experts(one, [1]), model.edit_experts(two, slice(4, None)):
        expected = model(IDS).logits
    both = PositionedEdit(((one, (slice(1, 2),)), (two, (slice(4, None),))))
    with model.edit_experts(both):
        assert torch.equal(model(IDS).logits, expected)
    with pytest.raises(ValueError, match="leave out positions"):
        model.edit_experts(both, [1])
    with pytest.raises(ValueError, match="belongs to the model"):
        make_model(seed=3).edit_experts(both)


@torch.no_grad()
def test_the_bridge_edits_at_positions(golden: Any, error: Any) -> None:
    lens: Any = load_lens(golden.path)
    ids = golden.expected["input_ids"]
    edits = {0: golden.expected["masked.keep.0"].float()}
    with golden.model.edit_experts(edits, [2]), lens.original_model.edit_experts(edits, [2]):
        assert error(lens(ids), golden.model(ids).logits) < 1e-5


@pytest.mark.parametrize(
    ("positions", "spans"),
    [
        ([3], ((3, 4),)),
        ([7, 5, 6, 2, 5], ((2, 3), (5, 8))),
        (range(4), ((0, 4),)),
        (slice(7, None), ((7, NO_END),)),
        (slice(2, 5), ((2, 5),)),
        ([3, slice(7, None), slice(4, 6)], ((3, 6), (7, NO_END))),
    ],
)
def test_positions_as_spans(positions: Any, spans: Any) -> None:
    assert read_spans(positions) == spans


@pytest.mark.parametrize("positions", [[], [-1, 3], slice(3, 3), slice(-2, None), slice(0, 9, 2)])
def test_what_is_no_position_is_refused(make_model: Any, positions: Any) -> None:
    with pytest.raises(ValueError, match="positions?"), make_model().edit_experts({}, positions):
        pass
