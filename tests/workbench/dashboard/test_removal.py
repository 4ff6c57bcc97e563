"""The choice of what is unlearned: through the address, as experts, and as stored results of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monet_model import ExpertEdit
from workbench import open_run
from workbench.analysis import mask_labels, read_analysis
from workbench.dashboard.application import create_app
from workbench.dashboard.context import Context
from workbench.dashboard.links import Address, edit_file, mask_link
from workbench.dashboard.removal import Removal, named_labels, of_arguments, read_removal
from workbench.errors import BadInputError, NotFoundError


@pytest.fixture(scope="module")
def ctx(run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Context:
    path = tmp_path_factory.mktemp("removal") / "run"
    shutil.copytree(run_path, path)
    return Context(open_run(path))


@given(labels=st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4, unique=True))
def test_any_labels_survive_the_address(labels: list[str]) -> None:
    address = Address("mask", query=Removal(tuple(labels)).query())
    assert named_labels(address, labels) == tuple(labels)


def test_a_label_may_be_spelled_plainly() -> None:
    assert named_labels(Address("prompt", query={"without": "a,b"}), ["a,b", "c"]) == ("a,b",)
    assert named_labels(Address("prompt", query={"without": "a,b"}), ["a,b", "a", "b"]) == ("a", "b")


def test_the_experts_are_those_of_the_analysis(ctx: Context) -> None:
    for group in ctx.run.groups:
        table = read_analysis(ctx.run, group)
        ours = table[table["specialised"].isin(["lua", "html"])]
        for removal, kept in (
            (Removal(("lua", "html")), ours),
            (Removal(("lua", "html"), 4.0), ours[ours["ratio"] >= 4]),
            (Removal(("lua", "html"), 4.0, True), ours[(ours["ratio"] >= 4) & ours["confirmed"]]),
        ):
            assert removal.experts(ctx, group).tolist() == kept.index.tolist()
    assert len(Removal(("lua",)).experts(ctx, 0)) > len(Removal(("lua",), 4.0).experts(ctx, 0)) > 0


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ({"without": "cobol"}, NotFoundError),
        ({"without": "lua,cobol"}, NotFoundError),
        ({"without": "lua", "ratio": "1.5"}, BadInputError),
        ({"without": "lua", "ratio": "x"}, BadInputError),
        ({"without": "lua", "ratio": "inf"}, BadInputError),
    ],
)
def test_what_is_no_choice_is_refused(ctx: Context, query: dict[str, str], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        read_removal(Address("mask", query=query), ctx)


def test_the_jobs_of_a_choice_lead_back_to_it(ctx: Context) -> None:
    removal = Removal(("html", "lua"), 3.0, True)
    assert of_arguments(removal.mask_request(ctx).arguments(ctx.run)) == removal
    assert of_arguments(removal.curve_request().arguments(ctx.run)) == Removal(("html", "lua"), None, True)
    assert not of_arguments(("mask", "runs/demo"))


def test_the_matrix_of_a_choice_is_its_own_or_the_rows_of_the_run_s(ctx: Context) -> None:
    every = ctx.mask()
    assert every is not None
    rows = Removal(("lua",)).mask(ctx)
    assert rows is not None
    at = every.rows.index("lua")
    assert (rows.rows, rows.removed) == (["lua"], [every.removed[at]])
    assert np.array_equal(rows.matrix, every.matrix[[at]])
    assert rows.delta_target == every.matrix[at, every.labels.index("lua")]
    removal = Removal(("lua",), 3.0)
    assert removal.mask(ctx) is None
    assert Removal(("lua",), confirmed=True).mask(ctx) is None
    options = dict(removal.mask_request(ctx).options)
    mask_labels(ctx.run, ctx.model(), labels=options["label"], ratio=options["ratio"], name=options["name"])
    own = removal.mask(ctx)
    assert own is not None
    assert (own.rows, own.ratio) == (["lua"], 3.0)


def test_the_edit_comes_as_a_file(ctx: Context, tmp_path: Path) -> None:
    client = create_app(ctx.run).server.test_client()
    removal = Removal(("lua", "html"), 4.0)
    answer = client.get(edit_file(removal.edit().query()))
    assert answer.status_code == 200
    (tmp_path / "edit.safetensors").write_bytes(answer.data)
    edit = ExpertEdit.load(tmp_path / "edit.safetensors")
    edit.check(ctx.model())
    for group, layer in zip(ctx.run.groups, ctx.run.group_layers, strict=True):
        assert sorted(edit.experts[layer].tolist()) == removal.experts(ctx, group).tolist()
        assert not edit.factors[layer].any()
    assert client.get(edit_file({})).status_code == 400
    assert client.get(edit_file({"edit": "label:cobol=0"})).status_code == 404


def test_the_page_of_a_choice_counts_and_offers_it(ctx: Context) -> None:
    client = create_app(ctx.run).server.test_client()
    assert client.get(mask_link(removal=Removal(("lua",), 3.0).query())).status_code == 200
    assert client.get("/mask?without=cobol").status_code == 404
