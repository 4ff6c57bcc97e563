"""Colourings of the lattice: every value at its step of one scale for all groups, and the bars of the keys."""

from __future__ import annotations

import shutil
import zlib
from base64 import urlsafe_b64decode
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench import open_run
from workbench.analysis import DiffResult
from workbench.analysis.correlation.correlate_result import EXPERT_COLUMNS, ScoreSummary
from workbench.analysis.results import group_file, write_result, write_table
from workbench.dashboard.atlas import plane
from workbench.dashboard.atlas.answers import cells_answer, expert_answer
from workbench.dashboard.atlas.colourings import DIFFERENCES, colourings, read_colouring, values
from workbench.dashboard.atlas.legend import legend
from workbench.dashboard.atlas.painting import LEVELS, Scale, cells, scale
from workbench.dashboard.context import Context
from workbench.errors import NotFoundError
from workbench.report.numbers import score_text
from workbench.store.address import Expert


@pytest.fixture(scope="module")
def ctx(run_path: Path) -> Context:
    return Context(open_run(run_path))


@pytest.fixture(scope="module")
def bare(bare_run_path: Path) -> Context:
    return Context(open_run(bare_run_path))


@pytest.fixture
def correlated(run_path: Path, tmp_path: Path) -> Context:
    """The run with correlations and a diff of some of its experts, as the commands keep them."""
    run = open_run(shutil.copytree(run_path, tmp_path / "run"))
    ids = {group: run.experts(group).index[:4].to_numpy() for group in run.groups}
    nothing = pd.DataFrame()
    write_result(run, ScoreSummary("score", "mean", 9, 2, 0.05, 0, nothing, nothing))
    for group, experts in ids.items():
        known = {"pearson": [-0.5, 0.0, 0.25, np.nan], "spearman": [-0.75, 0.0, 0.5, np.nan]}
        table = pd.DataFrame({"expert": experts, **dict.fromkeys(EXPERT_COLUMNS, 0.0), **known})
        write_table(run, ScoreSummary, group_file(ScoreSummary, group), table)
    changes = pd.concat(
        pd.DataFrame({"group": group, "expert": experts, **dict.fromkeys(DIFFERENCES, [-2.0, 0.5, 1.0, 4.0])})
        for group, experts in ids.items()
    )
    write_result(run, DiffResult({}, {}, "corpus", 1, 1, 1, changes, nothing, nothing))
    return Context(run)


@pytest.fixture
def few(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> Context:
    """The run as if its first three experts had never been active."""
    known = {group: ctx.experts(group).iloc[3:] for group in ctx.run.groups}
    monkeypatch.setattr(ctx, "experts", lambda group: known[group])
    return ctx


def test_choice_has_what_the_run_has_values_for(ctx: Context, bare: Context) -> None:
    assert {"label", "confirmed", "density", "mass", "max", "token_entropy", "monosemanticity", "ratio"} <= set(
        colourings(ctx)
    )
    assert not {"confirmed", "monosemanticity", "ratio"} & set(colourings(bare))
    with pytest.raises(NotFoundError, match="'weight' to colour experts by; there is label"):
        read_colouring(ctx, "weight")


def test_cells_of_a_number_are_steps_of_one_scale(ctx: Context) -> None:
    table = ctx.experts(1)
    drawn = cells(ctx, 1, read_colouring(ctx, "mass"))
    both = np.concatenate([ctx.experts(group)["mass"] for group in ctx.run.groups])
    low, high = np.log(both.min()), np.log(both.max())
    for expert in (int(table["mass"].idxmax()), int(table["mass"].idxmin()), int(table.index[7])):
        share = (np.log(table["mass"][expert]) - low) / (high - low)
        assert drawn.codes.flat[expert] == min(int(share * LEVELS), LEVELS - 1) + 1
    assert len(drawn.paint) == LEVELS + 2


def test_experts_never_active_have_no_colour(few: Context) -> None:
    for name in ("mass", "confirmed", "label"):
        codes = cells(few, 0, read_colouring(few, name)).codes
        assert (codes.flat[few.experts(0).index] >= 0).all()
        assert codes.flat[:3].tolist() == [-1, -1, -1]
    assert expert_answer(few, Expert(0, 1), "mass")["label"] == "never active"


def test_infinite_and_missing_values_have_their_places() -> None:
    levels = Scale(1.0, 8.0, log=False).levels(np.array([np.nan, -5.0, 1.0, 8.0, np.inf]))
    assert levels.tolist() == [0, 1, 1, LEVELS, LEVELS]
    assert Scale(2.0, 2.0, log=True).levels(np.array([2.0])).tolist() == [1]


def test_bars_are_sums_means_and_counts_over_a_keys_experts(ctx: Context) -> None:
    table, keys = ctx.experts(0), ctx.run.num_keys
    row, column = np.divmod(table.index.to_numpy(), keys)
    drawn = cells(ctx, 0, read_colouring(ctx, "mass"))
    assert drawn.rows[3] == pytest.approx(table["mass"][row == 3].sum())
    assert drawn.columns[5] == pytest.approx(table["mass"][column == 5].sum())
    assert drawn.rows.sum() == pytest.approx(drawn.columns.sum())
    assert cells(ctx, 0, read_colouring(ctx, "max")).rows[3] == pytest.approx(table["max"][row == 3].mean())
    assert cells(ctx, 0, read_colouring(ctx, "label")).rows[3] == table["confirmed"][row == 3].sum()


def test_confirmed_leaves_the_colours_of_the_others_out(ctx: Context) -> None:
    table = ctx.experts(0)
    by_label = cells(ctx, 0, read_colouring(ctx, "label")).codes.reshape(-1)
    confirmed = cells(ctx, 0, read_colouring(ctx, "confirmed")).codes.reshape(-1)
    assert (by_label == ctx.codes(0).reshape(-1)).all()
    sure = table.index.to_numpy()[table["confirmed"]]
    assert (confirmed[sure] == by_label[sure]).all()
    assert (confirmed[table.index.to_numpy()[~table["confirmed"]]] == 0).all()


def test_answer_is_packed_and_names_the_codes(ctx: Context, bare: Context) -> None:
    answer = cells_answer(ctx, 0, "label")
    sent = np.frombuffer(zlib.decompress(urlsafe_b64decode(answer["cells"])), "<i2")
    assert (sent == ctx.codes(0).reshape(-1)).all()
    assert answer["names"] == ["never active", "generalist", *ctx.run.labels, "too little data"]
    assert len(answer["paint"]) == len(answer["names"])
    assert cells_answer(bare, 0, "label")["margin"] == "active experts"
    assert cells_answer(ctx, 0, "max")["names"] is None


def test_facts_of_an_expert_have_its_value(ctx: Context) -> None:
    expert = int(ctx.experts(0)["mass"].idxmax())
    told = expert_answer(ctx, Expert(0, expert), "mass")
    assert told["value"] == f"mass {score_text(ctx.experts(0)['mass'][expert])}"
    assert told["keys"] == list(divmod(expert, ctx.run.num_keys))


def test_results_of_analyses_colour_the_experts_they_have(correlated: Context, ctx: Context) -> None:
    named = {"pearson", "spearman", "mass-change", "output-change", "contribution-change", "contribution-moved"}
    assert named <= set(colourings(correlated))
    assert not named & set(colourings(ctx))
    ids = correlated.experts(1).index
    found = values(correlated, 1, read_colouring(correlated, "spearman"))
    assert found.index.tolist() == ids.tolist()
    assert found[:3].tolist() == [-0.75, 0.0, 0.5]
    assert found[3:].isna().all()
    assert values(correlated, 1, read_colouring(correlated, "mass-change"))[:4].tolist() == [-2.0, 0.5, 1.0, 4.0]
    drawn = cells(correlated, 1, read_colouring(correlated, "spearman"))
    middle = drawn.codes.flat[ids[1]]
    assert middle in (LEVELS // 2, LEVELS // 2 + 1)  # 0 is in the middle, though values below reach further
    assert drawn.codes.flat[ids[0]] < middle < drawn.codes.flat[ids[2]]
    assert drawn.codes.flat[ids[4]] == 0
    told = expert_answer(correlated, Expert(1, int(ids[2])), "pearson")
    assert told["value"] == "Pearson with a document score 0.250"
    assert "beyond" in str(legend(correlated, read_colouring(correlated, "pearson")))
    assert plane.colour_scale(read_colouring(correlated, "pearson")) != plane.colour_scale(read_colouring(ctx, "mass"))


def test_results_that_cannot_be_read_colour_nothing(correlated: Context) -> None:
    for file in ("scores.json", "diff.json"):
        correlated.run.analysis_path(file).write_text("cut")
    assert not {"pearson", "mass-change"} & set(colourings(correlated))


def test_replication_is_that_of_an_experts_label(ctx: Context) -> None:
    found, labels = ctx.replication(), ctx.experts(0)["specialised"].astype(str)
    assert found is not None
    told = values(ctx, 0, read_colouring(ctx, "replication"))
    assert told[labels == ""].isna().all()
    for label in set(labels) - {""}:
        expected = found.share("specialised", 0, label)
        np.testing.assert_equal(told[labels == label].unique(), [expected])


def test_a_scale_around_zero_leaves_a_few_beyond_its_ends() -> None:
    numbers = pd.Series([*np.linspace(-1, 1, 200), 50.0, np.nan])
    ends = Scale.over([numbers], log=False, signed=True)
    assert ends.high == -ends.low
    assert 0.9 < ends.high < 1.1
    assert ends.levels(np.array([50.0, 0.0, -50.0])).tolist() == [LEVELS, LEVELS // 2 + 1, 1]
    assert Scale.over([numbers * 0], log=False, signed=True) == (-1.0, 1.0, False)


def test_legend_writes_the_ends_of_the_scale(ctx: Context) -> None:
    colouring = read_colouring(ctx, "density")
    ends = scale(ctx, colouring)
    shown = str(legend(ctx, colouring))
    assert score_text(ends.low) in shown
    assert score_text(ends.high) in shown
    assert ends.high == max(values(ctx, group, colouring).max() for group in ctx.run.groups)
