"""Edits in a prompt's address: read back as written, refused in words, and the edit of the model they make."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monet_model import MonetForCausalLM
from monet_model.identity import model_identity
from workbench import open_run
from workbench.analysis import read_analysis
from workbench.dashboard.context import Context
from workbench.dashboard.edits import MAX_NAMED, PromptEdit, count_removed, expert_edit, read_edit
from workbench.dashboard.links import Address, prompt_search
from workbench.errors import BadInputError, NotAnalysedError, NotFoundError, WorkbenchError
from workbench.store.address import Expert

FACTORS = st.dictionaries(
    st.builds(Expert, st.sampled_from([0, 1]), st.integers(0, 255)),
    st.floats(-8, 8).map(lambda value: round(value, 3)),
    max_size=8,
)


@pytest.fixture(scope="module")
def ctx(run_path: Path) -> Context:
    return Context(open_run(run_path))


@pytest.fixture(scope="module")
def model(ctx: Context) -> MonetForCausalLM:
    return ctx.model()


def _address(search: str) -> Address:
    return Address("prompt", query=dict(parse_qsl(search.lstrip("?"))))


@given(factors=FACTORS)
def test_prompt_edit_survives_the_address(ctx: Context, factors: dict[Expert, float]) -> None:
    search = prompt_search("x", 3, PromptEdit(factors, "lua").query())
    assert read_edit(_address(search), ctx) == PromptEdit(factors, "lua")


def test_prompt_edit_toggled_twice_is_the_same() -> None:
    edit = PromptEdit({Expert(0, 1): 2.0}, "lua")
    assert edit.toggled(Expert(1, 5)).factors == {Expert(0, 1): 2.0, Expert(1, 5): 0.0}
    assert edit.toggled(Expert(1, 5)).toggled(Expert(1, 5)) == edit
    assert edit.toggled(Expert(0, 1)).factors == {}
    assert not PromptEdit()


@pytest.mark.parametrize(
    ("query", "kind", "message"),
    [
        ({"edit": "0:1=x"}, BadInputError, "'0:1=x' is not an edit; write group:id=factor"),
        ({"edit": "0:1=inf"}, BadInputError, "is not an edit"),
        ({"edit": "0:99999=0"}, NotFoundError, "no expert 99999"),
        ({"edit": "7:1=0"}, NotFoundError, "no group 7"),
        ({"edit": "<b>"}, BadInputError, "names no expert"),
        ({"edit": ",".join(f"0:{expert}" for expert in range(MAX_NAMED + 1))}, BadInputError, "any number"),
        ({"without": "cobol"}, NotFoundError, "no label 'cobol'"),
    ],
)
def test_read_edit_refuses_what_is_no_edit(
    ctx: Context, query: dict[str, str], kind: type[WorkbenchError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        read_edit(Address("prompt", query=query), ctx)


def test_read_edit_refuses_a_label_of_a_run_that_is_not_analysed(bare_run_path: Path) -> None:
    with pytest.raises(NotAnalysedError, match="monet analyze"):
        read_edit(Address("prompt", query={"without": "lua"}), Context(open_run(bare_run_path)))


def test_expert_edit_removes_the_label_and_scales_the_named(ctx: Context, model: MonetForCausalLM) -> None:
    derived = read_analysis(ctx.run, 1)
    lua = derived.index[derived["specialised"] == "lua"]
    kept, other = int(lua[0]), int(derived.index[derived["specialised"] != "lua"][0])
    edit = expert_edit(PromptEdit({Expert(1, kept): 1.0, Expert(1, other): 2.0}, "lua"), ctx, model)
    expected = torch.ones(ctx.run.num_keys**2)
    expected[lua.tolist()] = 0.0
    expected[kept], expected[other] = 1.0, 2.0
    assert torch.equal(edit.matrices()[ctx.run.group_layers[1]].flatten(), expected)
    in_group_0 = (read_analysis(ctx.run, 0)["specialised"] == "lua").sum()
    assert count_removed(edit) == in_group_0 + len(lua) - 1
    assert edit.identity == model_identity(model)


def test_expert_edit_of_factor_1_edits_nothing(ctx: Context, model: MonetForCausalLM) -> None:
    for edit in (PromptEdit(), PromptEdit({Expert(0, 3): 1.0})):
        assert expert_edit(edit, ctx, model).matrices() == {}
