"""Experts chosen in a grid or table are kept in a list, and what cannot be kept is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from workbench import open_run
from workbench.dashboard.application import create_app
from workbench.dashboard.atlas.keys import Key, key_experts
from workbench.dashboard.atlas.listing import region_panel
from workbench.dashboard.context import Context
from workbench.dashboard.expert_list import expert_list
from workbench.dashboard.freeze import freeze
from workbench.dashboard.gather import gather_bar
from workbench.dashboard.links import Address, list_link
from workbench.dashboard.pages import atlas, key
from workbench.dashboard.pages.search import answer
from workbench.store.address import Expert

Press = Callable[..., dict[str, Any]]
Add = Callable[[str | None, list[str]], dict[str, Any]]
HOSTILE = "<b>five</b> & more"


@pytest.fixture
def ctx(run_alone: Path) -> Context:
    """A run beside which nothing is kept yet."""
    return Context(open_run(run_alone))


@pytest.fixture
def add(ctx: Context, press: Press) -> Add:
    """What the browser gets for a click on the button, given a name and the chosen."""

    def add(name: str | None, chosen: list[str]) -> dict[str, Any]:
        values = {"gather-add.n_clicks": 1, "gather-list.value": name, "gathered.data": chosen}
        return press(create_app(ctx.run), "gather-add.n_clicks", values)

    return add


def test_chosen_experts_make_a_list_and_then_join_it(ctx: Context, add: Add) -> None:
    said = add(HOSTILE, ["0:17", "1:5"])
    assert ctx.notes.list_experts(HOSTILE) == [(0, 17), (1, 5)]
    assert "All 2 are" in str(said["gather-said"])
    assert list_link(HOSTILE) in str(said["gather-said"])
    said = add(f" {HOSTILE} ", ["1:5", "0:3"])
    assert ctx.notes.list_experts(HOSTILE) == [(0, 17), (1, 5), (0, 3)]
    assert "which has 3 experts" in str(said["gather-said"]).replace("', '", "")


@pytest.mark.parametrize(
    ("name", "chosen", "error"),
    [
        (None, ["0:17"], "is empty"),
        ("mine", ["0:999999"], "no expert 999999"),
        ("mine", [f"0:{expert % 256}" for expert in range(1001)], "at most 1,000"),
    ],
)
def test_what_cannot_be_kept_is_said_at_the_name(
    ctx: Context, add: Add, name: str, chosen: list[str], error: str
) -> None:
    said = add(name, chosen)
    assert error in said["gather-list"]["error"]
    assert said["gather-said"]["children"] is None
    assert not ctx.notes.list_names()


def test_nothing_is_kept_of_nothing(ctx: Context, add: Add) -> None:
    assert add("mine", []) == {}
    assert not ctx.notes.path.exists()


@pytest.mark.parametrize("grid_id", ["experts-grid", "label-grid"])
def test_grids_have_boxes_and_know_rows_by_expert(ctx: Context, grid_id: str) -> None:
    label = ctx.labels[0] if grid_id == "label-grid" else None
    parts = expert_list(ctx, grid_id, 0, Address("overview"), label=label)
    (drawn,) = [part.children for part in parts if getattr(getattr(part, "children", None), "id", "") == grid_id]
    assert drawn.dashGridOptions["rowSelection"]["mode"] == "multiRow"
    assert "params.data.expert" in drawn.getRowId
    assert "gather-form" in str(freeze(parts))
    listened = [one["inputs"] for one in create_app(ctx.run)._callback_list]
    assert [{"id": grid_id, "property": "selectedRows"}] in listened


@pytest.mark.parametrize("kind", ["firing", "text", "documents"])
def test_results_of_a_search_have_a_box_each(ctx: Context, kind: str) -> None:
    found = str(answer(ctx, Address("search", query={"q": "l", "kind": kind})))
    assert found.count("'gather-box'") == found.count("'data-expert'") > 0
    assert found.count("gather-form") == 1
    expert = Expert(*map(int, found.split("'data-expert': '")[1].split("'")[0].split(":")))
    assert f"choose expert {expert}" in found
    assert f"'/expert/{expert.group}/{expert.id}'" in found


def test_keys_and_regions_have_a_box_per_expert(ctx: Context) -> None:
    last = ctx.run.num_keys - 1
    for drawn in (
        str(key.layout(ctx, Address("key", ("0", "1", "3")))),
        str(region_panel(ctx, "cells", f"0:3-3,0-{last}")),
    ):
        experts = key_experts(ctx, Key(0, 1, 3))
        assert drawn.count("'gather-box'") == len(experts) > 0
        assert all(f"'data-expert': '0:{expert}'" in drawn for expert in experts)
    assert str(atlas.layout(ctx, Address("atlas"))).count("'gather-form'") == 1


def test_a_page_of_a_run_whose_notes_are_damaged_can_still_choose(ctx: Context, add: Add) -> None:
    ctx.notes.path.write_text("no database " * 200)
    assert "gather-form" in str(freeze([gather_bar("how")]))
    assert create_app(ctx.run).server.test_client().get(f"/?{urlencode({'group': 0})}").status_code == 200
    assert "is no database of notes" in add("mine", ["0:17"])["gather-list"]["error"]
