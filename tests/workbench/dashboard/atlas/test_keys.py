"""What a key's page tells, against the run's own routing and statistics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from workbench import open_run
from workbench.dashboard.atlas.keys import Key, key_experts, key_labels, key_tokens, main_label
from workbench.dashboard.context import Context
from workbench.errors import NotFoundError


@pytest.fixture(scope="module")
def ctx(run_path: Path) -> Context:
    return Context(open_run(run_path))


@pytest.mark.parametrize("key_set", [1, 2])
def test_key_activations_are_the_routing_of_the_key(ctx: Context, key_set: int) -> None:
    run = ctx.run
    routing = run.routing(slice(None), 1)
    keys, probs = ((routing.indices1, routing.probs1), (routing.indices2, routing.probs2))[key_set - 1]
    number = int(keys[probs > 0].mode().values)
    weight = (probs * (keys == number)).flatten(1).sum(1).numpy()
    found = run.key_activations(1, key_set, number)
    assert found["row"].tolist() == np.flatnonzero(weight).tolist()
    assert found["weight"].to_numpy() == pytest.approx(weight[weight > 0], rel=1e-3)


def test_keys_that_are_not_there_are_refused(ctx: Context) -> None:
    for key_set, number in ((3, 0), (1, ctx.run.num_keys)):
        with pytest.raises(NotFoundError, match=f"no key {number} of set {key_set}"):
            ctx.run.key_activations(0, key_set, number)
        with pytest.raises(NotFoundError, match=f"no key {number} of set {key_set}"):
            Key.checked(ctx.run, 0, key_set, number)


def test_experts_of_a_key_share_it_and_fall_in_mass(ctx: Context) -> None:
    mass, keys = ctx.experts(0)["mass"], ctx.run.num_keys
    for key_set, own in ((1, mass.index // keys == 4), (2, mass.index % keys == 4)):
        found = key_experts(ctx, Key(0, key_set, 4))
        assert set(found) == set(mass.index[own])
        assert mass.loc[found].is_monotonic_decreasing


def test_main_label_is_that_of_most_experts(ctx: Context) -> None:
    labels = ctx.experts(0)["specialised"]
    for number in range(ctx.run.num_keys):
        own = labels.loc[key_experts(ctx, Key(0, 1, number))].astype(str)
        counts = own[own != ""].value_counts()
        main = main_label(ctx, Key(0, 1, number))
        if counts.empty:
            assert main is None
        else:
            assert main is not None
            assert counts[main.label] == counts.max()
            assert main.share == pytest.approx(counts.max() / len(own))
            assert main.base == pytest.approx((labels == main.label).mean())


def test_labels_and_tokens_divide_all_of_a_keys_weight(ctx: Context) -> None:
    activations = ctx.run.key_activations(0, 1, 4)
    labels = key_labels(ctx, activations).set_index("label")
    weight = labels["rate"] * ctx.run.label_tokens.loc[labels.index]
    assert weight.sum() == pytest.approx(activations["weight"].sum(), rel=1e-5)
    assert labels["share"].sum() == pytest.approx(1)
    assert labels["tokens"].sum() == len(activations)
    tokens = key_tokens(ctx, activations, 10_000)
    assert tokens["weight"].is_monotonic_decreasing
    assert tokens["weight"].sum() == pytest.approx(activations["weight"].sum(), rel=1e-5)
    assert tokens["count"].sum() == len(activations)
    assert (
        tokens["text"].iloc[0]
        == ctx.run.row_text(
            activations.loc[activations.groupby("token")["weight"].transform("sum").idxmax(), ["row"]].tolist()
        )[0]
    )
