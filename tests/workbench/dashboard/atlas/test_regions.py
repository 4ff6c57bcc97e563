"""Regions of the lattice and of the plane: who is inside, what is refused, and what the CSV has."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from workbench import open_run
from workbench.dashboard.atlas.listing import region_panel
from workbench.dashboard.atlas.regions import inside_polygon, read_region, region_csv
from workbench.dashboard.context import Context
from workbench.errors import BadInputError, NotAnalysedError, NotFoundError
from workbench.report.csv_text import read_csv


@pytest.fixture(scope="module")
def ctx(run_path: Path) -> Context:
    return Context(open_run(run_path))


def test_region_has_the_active_experts_of_its_keys(ctx: Context) -> None:
    keys, table = ctx.run.num_keys, ctx.experts(1)
    found = read_region(ctx, "cells", "1:6-2,3-9")
    inside = {i * keys + j for i in range(2, 7) for j in range(3, 10)} & set(table.index)
    assert set(found.experts.tolist()) == inside
    assert found.places == 35
    assert np.all(np.diff(table["mass"].loc[found.experts]) <= 0)


@pytest.mark.parametrize(
    ("kind", "text", "kind_of_error", "said"),
    [
        ("cells", "0:1-2", BadInputError, "names no region; write group:i-i,j-j"),
        ("cells", "0:1-9999,2-3", NotFoundError, "keys run from 0 to"),
        ("cells", "7:1-2,1-2", NotFoundError, "7"),
        ("plane", "0:1,2;3", BadInputError, "corners of a polygon"),
        ("plane", "0:1,2;3,4", BadInputError, "2 corners; a polygon has 3 to"),
        ("plane", "0:0,0;1,0;0,1", NotAnalysedError, "monet map"),
    ],
)
def test_bad_regions_are_refused(ctx: Context, kind: str, text: str, kind_of_error: type[Exception], said: str) -> None:
    with pytest.raises(kind_of_error, match=said):
        read_region(ctx, kind, text)


def test_polygon_that_is_not_convex() -> None:
    arrow = np.array([[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]], float)
    points = np.array([[0.5, 2.0], [2.0, 2.0], [3.5, 2.0], [2.0, 0.5], [5.0, 1.0]])
    assert inside_polygon(points, arrow).tolist() == [True, False, True, True, False]


def test_csv_reads_back_with_every_expert(ctx: Context) -> None:
    region = read_region(ctx, "cells", "0:0-3,0-5")
    table = read_csv(io.BytesIO(region_csv(ctx, region)))  # type: ignore[arg-type]
    known = ctx.experts(0).loc[region.experts]
    assert table["expert"].tolist() == region.experts.tolist()
    assert table["mass"].tolist() == known["mass"].tolist()
    assert table["confirmed"].tolist() == known["confirmed"].tolist()
    assert table["specialised"].fillna("").tolist() == known["specialised"].astype(str).tolist()
    assert (table["i"] * ctx.run.num_keys + table["j"] == table["expert"]).all()


def test_panel_counts_labels_and_links_to_files_and_lists(ctx: Context) -> None:
    last = ctx.run.num_keys - 1
    shown = str(region_panel(ctx, "cells", f"0:0-{last},0-{last}"))
    table = ctx.experts(0)
    for label, known in table.groupby("specialised", observed=True):
        if label:
            assert f"{known['confirmed'].sum():,} / {len(known):,}" in shown
    assert f"All {len(table):,} as CSV" in shown
    assert f"/download/experts.csv?cells=0%3A0-{last}%2C0-{last}" in shown
    assert "/lists?experts=0:" in shown
    assert f"/expert/0/{int(table['mass'].idxmax())}" in shown
