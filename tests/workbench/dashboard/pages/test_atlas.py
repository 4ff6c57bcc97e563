"""The atlas, the page of a key, and the map of contexts in any colouring."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from flask.testing import FlaskClient

from workbench.analysis import read_map
from workbench.dashboard.application import create_app, draw
from workbench.dashboard.atlas.colourings import read_colouring
from workbench.dashboard.atlas.plane import nearest, plane_figure
from workbench.dashboard.atlas.regions import read_region
from workbench.dashboard.context import Context
from workbench.dashboard.links import atlas_link, key_link
from workbench.dashboard.pages import read_address
from workbench.errors import NotFoundError
from workbench.store.address import Expert

Show = Callable[[Context, str], str]


@pytest.fixture(scope="module")
def client(ctx: Context) -> FlaskClient:
    client: FlaskClient = create_app(ctx.run).server.test_client()
    return client


def test_atlas_shows_all_groups_or_one_as_the_address_says(ctx: Context, page: Show) -> None:
    everything, one = page(ctx, atlas_link()), page(ctx, atlas_link(1, zoom="1:2,3,10", select="1:0-1,0-1"))
    assert [f"'data-group': '{group}'" in everything for group in ctx.run.groups] == [True] * len(ctx.run.groups)
    assert "'data-group': '0'" not in one
    assert "'data-zoom': '2,3,10'" in one
    assert "'region': '1:0-1,0-1'" in one


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("group=9", 404),
        ("colour=weight", 404),
        ("zoom=0:1,2", 400),
        ("zoom=0:1,2,9999", 400),
        ("select=here", 400),
        ("select=9:0-1,0-1", 404),
    ],
)
def test_addresses_that_name_nothing_say_so(ctx: Context, query: str, status: int) -> None:
    assert draw(ctx, read_address("/atlas", query)).status == status


def test_scripts_are_answered_and_files_sent(ctx: Context, client: FlaskClient) -> None:
    assert client.get("/atlas/cells/0/mass").get_json()["margin"] == "sum of mass"
    assert client.get("/atlas/expert/0/3?colour=label").get_json()["expert"] == "0:3"
    sent = client.get("/download/experts.csv?cells=1:0-4,0-4")
    assert sent.mimetype == "text/csv"
    assert sent.data.count(b"\n") == len(read_region(ctx, "cells", "1:0-4,0-4").experts) + 1
    asked = ("/atlas/cells/9/mass", "/atlas/cells/x/mass", "/atlas/expert/0/3?colour=no", "/download/experts.csv")
    assert [client.get(address).status_code for address in asked] == [404, 400, 404, 400]


def test_key_page_lists_its_experts_and_what_it_fires_on(ctx: Context, page: Show) -> None:
    expert = int(ctx.experts(0)["mass"].idxmax())
    for key_set, key in enumerate(divmod(expert, ctx.run.num_keys), start=1):
        shown = page(ctx, key_link(0, key_set, key))
        assert f"Key {key} of set {key_set}, group 0" in shown
        assert f"/expert/0/{expert}" in shown
        assert "Labels it fires on" in shown
        assert "Tokens it fires on" in shown
    assert draw(ctx, read_address("/keys/0/3/1", "")).status == 404
    assert draw(ctx, read_address("/keys/0/one/1", "")).status == 400


def test_points_are_coloured_by_their_value(ctx: Context) -> None:
    figure = plane_figure(ctx, 0, read_colouring(ctx, "mass"), "0:0,0;1,0;1,1")
    sent = {row[0]: shade for row, shade in zip(figure.data[1].customdata, figure.data[1].marker.color, strict=True)}
    mass = ctx.experts(0)["mass"].loc[read_map(ctx.run, 0).index]
    assert sent == pytest.approx(np.log10(mass).to_dict())
    assert figure.layout.selections[0].path == "M0,0L1,0L1,1Z"


def test_region_of_the_plane_and_nearest_points(ctx: Context) -> None:
    points = read_map(ctx.run, 0)  # x counts up, y repeats 0, 1, 2
    inside = read_region(ctx, "plane", "0:-0.5,-0.5;4.5,-0.5;4.5,0.5;-0.5,0.5")
    assert set(inside.experts) == set(points.index[(points["x"] < 4.5) & (points["y"] < 0.5)])
    near = nearest(ctx, Expert(0, int(points.index[0])))
    distance = np.hypot(points["x"], points["y"]).drop(points.index[0])
    assert near == distance.sort_values(kind="stable").index.tolist()
    outside = int(np.setdiff1d(ctx.experts(0).index, points.index)[0])
    with pytest.raises(NotFoundError, match="is not on the map"):
        nearest(ctx, Expert(0, outside))


def test_structure_page_reads_its_address(ctx: Context, page: Show) -> None:
    expert = int(read_map(ctx.run, 0).index[0])
    shown = page(ctx, f"/structure?colour=mass&near=0:{expert}&select=0:0,0;1,0;1,1")
    assert f"0:{expert}" in shown
    assert "M0,0L1,0L1,1Z" in shown
    assert "there is nothing called 'x'" in page(ctx, "/structure?colour=x").lower()
