from __future__ import annotations

from collections.abc import Callable

import pytest

from workbench.dashboard.context import Context
from workbench.dashboard.page import Page
from workbench.dashboard.pages import PAGES
from workbench.store import Run
from workbench.studies.control.reading_result import ControlReading


@pytest.fixture(scope="module")
def read_ctx(read_run: Run) -> Context:
    return Context(read_run)


def _page() -> Page:
    return next(page for page in PAGES if page.name == "control")


def test_it_is_in_the_menu_of_a_policys_run_alone(read_ctx: Context, ctx: Context) -> None:
    assert _page().useful(read_ctx)
    assert not _page().useful(ctx)


def test_without_a_reading_it_says_what_to_run(ctx: Context, page: Callable[[Context, str], str]) -> None:
    shown = page(ctx, "/control")
    assert "Not read yet" in shown
    assert "control rule" in shown


def test_the_rule_and_the_experts_that_give_it_are_shown(
    read_ctx: Context, reading: ControlReading, page: Callable[[Context, str], str]
) -> None:
    shown = page(read_ctx, "/control")
    assert str(reading.rule) in shown
    _, part = next(iter(reading.rule.meanings.values()))
    giver = reading.experts.loc[reading.experts[f"part:{part}"].abs().idxmax()]
    assert f"/expert/{giver['layer']}/{giver['expert']}" in shown


def test_every_policy_and_removal_has_its_row(
    read_ctx: Context, reading: ControlReading, page: Callable[[Context, str], str]
) -> None:
    shown = page(read_ctx, "/control")
    for row in reading.outcomes.itertuples():
        assert f"{row.reward:.2f}" in shown
    assert "equally active, draw 1" in shown


def test_the_species_and_the_expert_are_in_the_address(
    read_ctx: Context, reading: ControlReading, page: Callable[[Context, str], str]
) -> None:
    row = reading.surfaces[reading.surfaces["point"] == reading.lattice.index[-1]].iloc[0]
    shown = page(read_ctx, f"/control?species=Y&expert={row['layer']:.0f}:{row['expert']:.0f}")
    assert f"What expert {row['layer']:.0f}:{row['expert']:.0f} adds to the mortality of Y" in shown
    assert "population of Y" in shown


def test_an_expert_that_the_map_lacks_is_said_to_be_silent(
    read_ctx: Context, reading: ControlReading, page: Callable[[Context, str], str]
) -> None:
    known = set(reading.surfaces.loc[reading.surfaces["layer"] == 0, "expert"])
    silent = next(expert for expert in range(4096) if expert not in known)
    assert "is active at no state of this map" in page(read_ctx, f"/control?expert=0:{silent}")


def test_no_such_expert_is_not_found(read_ctx: Context, page: Callable[[Context, str], str]) -> None:
    assert "Not found" in page(read_ctx, "/control?expert=9:9")


def test_states_are_shown_as_numbers(
    read_ctx: Context, reading: ControlReading, page: Callable[[Context, str], str]
) -> None:
    expert = int(read_ctx.run.experts(0)["mass"].idxmax())
    state = read_ctx.run.token_column[: 3 * (read_ctx.run.examples(0, expert, 1)["row"].iloc[0] // 3 + 1)][-3:]
    shown = page(read_ctx, f"/control?expert=0:{expert}")
    for name in read_ctx.run.token_text(state):
        assert f"'{name.split('=')[1]}'" in shown
    assert "/prompt?text=" in shown
