"""The page of what a fine-tune changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from monet_model import MonetForCausalLM
from workbench import open_run
from workbench.analysis import DiffResult, diff_models
from workbench.analysis.diff.diff_result import CHANGES
from workbench.analysis.results import write_result
from workbench.dashboard.application import create_app
from workbench.dashboard.comparing.diff import masses
from workbench.dashboard.context import Context
from workbench.dashboard.links import diff_file
from workbench.dashboard.pages import PAGES

HOSTILE = "<script>window.hacked = 1</script>"


@pytest.fixture(scope="module")
def kept(run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, DiffResult]:
    """A run of the tiny model, kept with its difference from a base with other experts and a hostile name."""
    folder = tmp_path_factory.mktemp("diff")
    run = open_run(shutil.copytree(run_path, folder / "run"))
    base = MonetForCausalLM.from_pretrained(run.model_path)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in base.named_parameters():
            if "moe" in name or "router" in name:
                parameter.add_(0.2 * parameter.std().nan_to_num(0.1) * torch.randn_like(parameter))
    base.save_pretrained(folder / "base")
    result = diff_models(folder / "base", run.model_path, Path(run.model_path).parent / "corpus.parquet")
    result = replace(result, base=result.base | {"path": f"models/{HOSTILE}"})
    write_result(run, result)
    return Context(run), result


def test_it_is_in_the_menu_only_where_there_is_a_result(kept: tuple[Context, DiffResult], ctx: Context) -> None:
    page = next(page for page in PAGES if page.name == "diff")
    assert page.useful(kept[0])
    assert not page.useful(ctx)


def test_without_a_result_it_says_what_to_run(ctx: Context, page: Callable[[Context, str], str]) -> None:
    shown = page(ctx, "/diff")
    assert "Not compared yet" in shown
    assert "diff BASE" in shown


@pytest.mark.parametrize("by", CHANGES)
def test_the_experts_of_each_ranking_are_linked_in_its_order(
    kept: tuple[Context, DiffResult], by: str, page: Callable[[Context, str], str]
) -> None:
    ctx, result = kept
    shown = page(ctx, f"/diff?by={by}")
    expected = [f"/expert/{row.group}/{row.expert}'" for row in result.ranked(by, 50).itertuples()]
    places = [shown.find(link) for link in expected]
    assert expected
    assert -1 not in places
    assert places == sorted(places)


def test_labels_concentration_and_names_are_shown_as_text(
    kept: tuple[Context, DiffResult], page: Callable[[Context, str], str]
) -> None:
    ctx, result = kept
    shown = page(ctx, "/diff")
    for row in result.labels.itertuples():
        assert f"{row.tuned_loss:.4f}" in shown
    for row in result.groups.itertuples():
        assert f"{row.moved:,}" in shown
    assert f"'{HOSTILE.rpartition('/')[2]}'" in shown  # a child, which no browser parses
    assert "1</script>" not in shown.replace(repr(f"models/{HOSTILE}"), "").replace(repr(HOSTILE), "")


def test_the_picture_counts_every_expert_of_both_once(kept: tuple[Context, DiffResult]) -> None:
    _, result = kept
    for group in result.groups["group"]:
        own = result.experts.query("group == @group")
        both = own[(own["base_mass"] > 0) & (own["tuned_mass"] > 0)]
        drawn = masses(result, group, result.ranked("mass", 5))
        assert drawn.data[0].customdata.sum() == len(both)
        assert len(drawn.data[2].x) <= 5


def test_points_of_the_picture_name_their_experts_for_the_card(kept: tuple[Context, DiffResult]) -> None:
    _, result = kept
    listed = result.ranked("mass", 5)
    group = int(listed["group"].iloc[0])
    own = listed[(listed["group"] == group) & (listed["base_mass"] > 0) & (listed["tuned_mass"] > 0)]
    points = masses(result, group, listed).data[2].customdata
    assert [expert for expert, _ in points] == own["expert"].tolist()
    assert points[0][1] == f"mass {own['base_mass'].iloc[0]:.3g} before, {own['tuned_mass'].iloc[0]:.3g} after"


@pytest.mark.parametrize(("address", "said"), [("/diff?by=size", "cannot be sorted"), ("/diff?group=9", "no group")])
def test_what_cannot_be_shown_is_named(
    kept: tuple[Context, DiffResult], address: str, said: str, page: Callable[[Context, str], str]
) -> None:
    assert said in page(kept[0], address)


def test_its_report_is_a_download_and_a_conflict_without_one(kept: tuple[Context, DiffResult], run_path: Path) -> None:
    got = create_app(kept[0].run).server.test_client().get(diff_file("json"))
    assert got.status_code == 200
    assert got.json["report"] == "diff"
    none = create_app(open_run(run_path)).server.test_client().get(diff_file("json"))
    assert none.status_code == 409
    assert "monet diff" in none.text
