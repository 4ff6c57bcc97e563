"""The logit view against experts written out from their weights, and against direct attribution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from monet_model import MonetForCausalLM
from workbench.analysis import attribute
from workbench.errors import NotFoundError
from workbench.explain import logit_view
from workbench.explain.logit_lens import EXAMPLE_TOKENS
from workbench.store import Run

Golden = tuple[Run, MonetForCausalLM]
Cut = Callable[[list[int], int, int], list[tuple[list[int], int]]]


def some_expert(run: Run, group: int) -> int:
    """One that is active in many places, with keys that differ."""
    experts = run.experts(group)
    ids = experts.index[experts.index % run.num_keys != experts.index // run.num_keys]
    return int(experts.loc[ids, "mass"].idxmax())


def written_out(moe: Any, x: Tensor, i: int, j: int) -> Tensor:
    """E_ij(x) from the weights' own rows and columns, as the paper defines it; x (hidden,)."""

    def part(weight: Tensor, key: int, side: int) -> Tensor:
        return weight.double().unflatten(side, (moe.keys, -1)).select(side, key)

    def act(layer: Any, key: int) -> Tensor:
        bias = layer.bias.double().unflatten(0, (moe.keys, -1))[key]
        return torch.relu(part(layer.weight, key, 0) @ x + bias).square()

    if hasattr(moe, "v"):
        return part(moe.v.weight, j, 1) @ act(moe.u, i) + moe.b[j].double()
    a1, a2 = act(moe.u1, i), act(moe.u2, j)
    left = part(moe.v11.weight, i, 1) @ a1 + part(moe.v12.weight, i, 1) @ a2 + moe.b1[i].double()
    right = part(moe.v21.weight, j, 1) @ a1 + part(moe.v22.weight, j, 1) @ a2 + moe.b2[j].double()
    return torch.cat([left, right])


def brute_force(run: Run, model: MonetForCausalLM, group: int, expert: int, cut: Cut) -> dict[int, np.ndarray]:
    """Layer -> (vocabulary,) mean contributions, one example and layer at a time."""
    seen: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    final: list[Tensor] = []
    hooks = [model.model.norm.register_forward_pre_hook(lambda _, args: final.append(args[0][0, -1].double()))]
    for number, layer in enumerate(model.model.layers):

        def keep(_: Any, args: Any, out: Tensor, number: int = number) -> None:
            g1, g2 = args[1].dense()
            seen[number] = args[0][0, -1].double(), g1[-1].double(), g2[-1].double()

        hooks.append(layer.moe.register_forward_hook(keep))
    i, j = divmod(expert, run.num_keys)
    layers = model.config.routing_groups[group]
    sums = {layer: torch.zeros(model.config.vocab_size, dtype=torch.float64) for layer in layers}
    examples = run.examples(group, expert, EXAMPLE_TOKENS)
    with torch.no_grad():
        for doc, position, window in zip(examples["doc"], examples["position"], examples["window"], strict=True):
            bos = int(pd.notna(run.documents["bos"][doc]))
            windows = cut(run.input_ids(doc).tolist(), bos, run.manifest["settings"]["context"])
            number = window - run.documents["window"][doc]
            begin = sum(len(ids) - again for ids, again in windows[:number])
            ids, again = windows[number]
            model(torch.tensor([ids[: again + position - begin + 1]]))
            rms = (final[-1].square().mean() + model.config.rms_norm_eps).sqrt()
            unembed = model.lm_head.weight.double() * model.model.norm.weight.double() / rms
            for layer in layers:
                x, g1, g2 = seen[layer]
                sums[layer] += (g1[:, i] @ g2[:, j]) * (unembed @ written_out(model.model.layers[layer].moe, x, i, j))
    for hook in hooks:
        hook.remove()
    return {layer: (total / len(examples)).numpy() for layer, total in sums.items()}


@pytest.mark.parametrize("group", [0, 1])
def test_logit_view_equals_brute_force_in_each_layer_and_summed(golden_run: Golden, group: int, cut: Cut) -> None:
    run, model = golden_run
    expert = some_expert(run, group)
    expected = brute_force(run, model, group, expert, cut)
    views = {layer: logit_view(run, model, group, expert, 1000, layer=layer) for layer in expected}
    views[-1] = logit_view(run, model, group, expert, 1000)
    for layer, view in views.items():
        truth = expected.get(layer, sum(expected.values()))
        found = view.set_index("token")["logit"].reindex(range(model.config.vocab_size))
        assert np.abs(found - truth).max() < 1e-5 * np.abs(truth).max()
        assert view["logit"].is_monotonic_decreasing


def read_prefixes(run: Run, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return, for each token row, the ids that the model read up to it, from the start of its context window."""
    prefixes = []
    for row, doc in zip(rows, run.geometry.places(rows)[0], strict=True):
        for ids, held in run.windows_of(int(doc)):
            if len(at := np.flatnonzero(held == row)):
                prefixes.append(ids[: at[0] + 1])
    return prefixes


def test_logit_view_equals_direct_attribution_of_each_example(golden_run: Golden) -> None:
    run, model = golden_run
    expert = some_expert(run, 1)
    view = logit_view(run, model, 1, expert, 1)
    assert list(view["token_text"]) == run.token_text(view["token"].to_numpy())
    rows = run.examples(1, expert, EXAMPLE_TOKENS)["row"].to_numpy()
    for token, logit in zip(view["token"], view["logit"], strict=True):
        parts = []
        for ids in read_prefixes(run, rows):
            table = attribute(model, torch.from_numpy(ids)[None], token).experts
            owned = table["layer"].isin(model.config.routing_groups[1]) & (table["expert"] == expert)
            parts.append(table.loc[owned, "contribution"].sum())
        assert logit == pytest.approx(np.mean(parts), abs=1e-9 + 1e-5 * abs(logit))


def test_logit_view_lists_promoted_tokens_first_and_suppressed_last(golden_run: Golden) -> None:
    run, model = golden_run
    expert = some_expert(run, 0)
    every = logit_view(run, model, 0, expert, 1000)
    assert sorted(every["token"]) == list(range(model.config.vocab_size))
    some = logit_view(run, model, 0, expert, 4)
    assert list(some["token"]) == [*every["token"][:4], *every["token"][-4:]]


def test_logit_view_of_an_expert_never_active_is_empty(golden_run: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    run, model = golden_run
    none = run.examples(0, 0, 0)
    monkeypatch.setattr(run, "examples", lambda *_: none)
    assert list(logit_view(run, model, 0, 0)) == ["token", "token_text", "logit"]
    assert logit_view(run, model, 0, 0).empty


@pytest.mark.parametrize(
    ("group", "expert", "layer", "message"),
    [
        (0, 0, 2, "layer 2 is not one of group 0's; it has 0, 1"),
        (7, 0, None, "no group 7"),
        (0, 10**6, None, "there is no expert 1000000"),
    ],
)
def test_logit_view_refuses_what_is_not_there(
    golden_run: Golden, group: int, expert: int, layer: int | None, message: str
) -> None:
    with pytest.raises(NotFoundError, match=message):
        logit_view(*golden_run, group, expert, layer=layer)
