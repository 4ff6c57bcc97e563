"""The structure page: figures of the stored result, and the map with a point per expert."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from workbench import Run
from workbench.analysis import read_structure
from workbench.dashboard import figures
from workbench.dashboard.context import Context
from workbench.dashboard.links import structure_link
from workbench.dashboard.pages import structure
from workbench.errors import DamagedError

Page = Callable[[Context, str], str]


def test_structure_page_has_the_figures(ctx: Context, page: Page) -> None:
    shown, stored = page(ctx, structure_link(1)), read_structure(ctx.run)
    assert stored is not None
    for row in stored.lattice.itertuples():
        assert f"{row.explained:.3f}" in shown
    assert "20 most active experts of group 1" in shown
    assert "/expert/1/{expert}" in shown


def test_damaged_structure_leaves_the_map(ctx: Context, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(run: Run) -> None:
        raise DamagedError("structure.json is damaged.")

    monkeypatch.setattr(structure, "read_structure", damaged)
    shown = page(ctx, structure_link(1))
    assert "Damaged file" in shown
    assert "20 most active experts of group 1" in shown


def test_points_of_the_map_carry_their_expert_as_plain_lists(ctx: Context) -> None:
    points = ctx.experts(0).head(5).assign(x=0.0, y=0.0).reset_index()
    sent = [trace["customdata"] for trace in figures.plane(points, ctx.colours).to_plotly_json()["data"]]
    assert all(isinstance(rows, list | tuple) for rows in sent)  # Dash drops arrays from clickData
    assert sorted(expert for trace in sent for expert, *_ in trace) == sorted(points["expert"])
    assert not any(
        "bdata" in str(trace["customdata"]) for trace in figures.plane(points, ctx.colours).to_plotly_json()["data"]
    )
