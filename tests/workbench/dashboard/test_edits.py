"""Edits in a prompt's address: read back as written, refused in words, and what the model does under them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench import open_run
from workbench.analysis import read_analysis
from workbench.dashboard.context import Context
from workbench.dashboard.edits import MOST, PromptEdit, matrices, read_edit
from workbench.dashboard.links import Address, prompt_search
from workbench.dashboard.pages.prompt import _read
from workbench.errors import WorkbenchError

FACTORS = st.dictionaries(
    st.tuples(st.sampled_from([0, 1]), st.integers(0, 255)),
    st.floats(-8, 8).map(lambda value: round(value, 3)),
    max_size=8,
)


@pytest.fixture(scope="module")
def ctx(run_path: Path) -> Context:
    return Context(open_run(run_path))


def _address(search: str) -> Address:
    return Address("prompt", query=dict(parse_qsl(search.lstrip("?"))))


@given(factors=FACTORS)
def test_edit_survives_the_address(ctx: Context, factors: dict[tuple[int, int], float]) -> None:
    search = prompt_search("x", 3, PromptEdit(factors, "lua").query())
    assert read_edit(_address(search), ctx) == PromptEdit(factors, "lua")


def test_removing_twice_leaves_alone() -> None:
    edit = PromptEdit({(0, 1): 2.0}, "lua")
    assert edit.toggled(1, 5).factors == {(0, 1): 2.0, (1, 5): 0.0}
    assert edit.toggled(1, 5).toggled(1, 5) == edit
    assert edit.toggled(0, 1).factors == {}
    assert not PromptEdit()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"edit": "0:1=x"}, "'0:1=x' is no edit; write group:id=factor"),
        ({"edit": "0:1=inf"}, "is no edit"),
        ({"edit": "0:99999=0"}, "no expert 99999"),
        ({"edit": "7:1=0"}, "no group 7"),
        ({"edit": "<b>"}, "names no expert"),
        ({"edit": ",".join(f"0:{expert}" for expert in range(MOST + 1))}, "more in Python"),
        ({"without": "cobol"}, "no label 'cobol'"),
    ],
)
def test_what_is_no_edit_is_refused(ctx: Context, query: dict[str, str], said: str) -> None:
    with pytest.raises(WorkbenchError, match=said):
        read_edit(Address("prompt", query=query), ctx)
    assert _read(ctx, Address("prompt", query={"text": "x"} | query)).title == "The prompt was not run"


def test_label_of_a_run_that_is_not_analysed_is_refused(bare_run_path: Path) -> None:
    with pytest.raises(WorkbenchError, match="monet analyze"):
        read_edit(Address("prompt", query={"without": "lua"}), Context(open_run(bare_run_path)))


def test_matrices_remove_the_label_and_scale_the_named(ctx: Context) -> None:
    derived = read_analysis(ctx.run, 1)
    lua = derived.index[derived["specialised"] == "lua"]
    kept, other = int(lua[0]), int(derived.index[derived["specialised"] != "lua"][0])
    made = matrices(PromptEdit({(1, kept): 1.0, (1, other): 2.0}, "lua"), ctx)
    expected = torch.ones(ctx.run.num_keys**2)
    expected[lua.to_numpy()] = 0.0
    expected[kept], expected[other] = 1.0, 2.0
    assert torch.equal(made[ctx.run.group_layers[1]].flatten(), expected)
    assert matrices(PromptEdit({(0, 3): 1.0}), ctx) == {}
