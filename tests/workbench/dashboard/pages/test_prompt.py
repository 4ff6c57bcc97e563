"""The prompt page: forward passes counted, its limit in words, and how it shows an edit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench import open_run
from workbench.analysis import attribute, read_analysis
from workbench.dashboard.application import create_app, draw
from workbench.dashboard.context import Context
from workbench.dashboard.links import Address
from workbench.dashboard.pages import read_address
from workbench.dashboard.pages.prompt import MAX_CHARACTERS, _read, read_answer

TEXT = "def f(x):"


@pytest.fixture(scope="module")
def ctx(run_path: Path) -> Context:
    return Context(open_run(run_path))


def _address(**query: str) -> Address:
    return Address("prompt", query={"text": TEXT} | query)


def _page(ctx: Context, **query: str) -> str:
    return str([part.to_plotly_json() for part in _read(ctx, _address(**query))])


def _removed(ctx: Context) -> str:
    """An expert that is among the top ones of the prompt's last token."""
    top = read_answer(ctx, _address()).reading.top_experts(1).iloc[-1]
    return f"{int(top['group'])}:{int(top['expert'])}"


def test_prompt_page_is_one_forward_pass(ctx: Context, count_passes: Callable[[], int]) -> None:
    ctx.model()
    before = count_passes()
    _page(ctx)
    assert count_passes() - before == 1


def test_prompt_page_under_an_edit_is_two_forward_passes(ctx: Context, count_passes: Callable[[], int]) -> None:
    ctx.model()
    before = count_passes()
    _page(ctx, edit="0:5=0", without="lua")
    assert count_passes() - before == 2


def test_read_answer_compares_the_edited_model_with_the_unedited(ctx: Context) -> None:
    edited, plain = read_answer(ctx, _address(without="lua", target="7")), read_answer(ctx, _address(target="7"))
    assert edited.before is not None
    assert edited.before.probabilities([7]) == plain.reading.probabilities([7]) != edited.reading.probabilities([7])
    assert plain.before is None
    ids = torch.tensor([plain.reading.prompt.ids])
    assert plain.attribution.logit == attribute(ctx.model(), ids, 7).logit != edited.attribution.logit


def test_prompt_page_names_the_edit(ctx: Context) -> None:
    specialised = sum(int((read_analysis(ctx.run, group)["specialised"] == "lua").sum()) for group in ctx.run.groups)
    assert f"Without the experts specialised in lua: {specialised:,} experts removed in all." in _page(
        ctx, without="lua"
    )
    edited = _page(ctx, edit="0:5=0, 1:7=2")
    assert edited.index("'Edited: '") < edited.index("' × 0 '") < edited.index("'; '") < edited.index("' × 2 '")
    assert edited.count("'; '") == 1  # between the two, not behind them
    assert "prompt-edited" not in _page(ctx)


def test_prompt_page_strikes_out_removed_experts(ctx: Context) -> None:
    assert "'tag': 'del'" not in _page(ctx)
    expert = _removed(ctx)
    group, _, number = expert.partition(":")
    page = _page(ctx, edit=f"{expert}=0")
    assert "'tag': 'del'" in page
    assert f"/expert/{group}/{number}" in page
    assert "struck out" in page
    assert "'tag': 'del'" not in _page(ctx, edit=f"{expert}=2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The text is empty"),
        ("x" * (MAX_CHARACTERS + 1), "The text has 16,001 characters; the limit is 64 tokens (about "),
        ("x" * 100, "The prompt has 101 tokens; the model reads at most 64. Shorten it."),
    ],
    ids=["empty", "characters", "tokens"],
)
def test_prompt_page_refuses_a_text_by_the_model_s_limit(ctx: Context, text: str, message: str) -> None:
    refused = _read(ctx, _address(text=text))
    assert refused.title == "The prompt was not run"
    assert message in refused.children


@pytest.mark.parametrize("query", [{"edit": "<b>"}, {"without": "cobol"}, {"target": "128"}])
def test_prompt_page_says_why_it_was_not_run(ctx: Context, query: dict[str, str]) -> None:
    assert _read(ctx, _address(**query)).title == "The prompt was not run"


def test_prompt_page_states_the_model_s_limit(ctx: Context) -> None:
    page = str([part.to_plotly_json() for part in draw(ctx, read_address("/prompt", "")).content])
    assert "Text for the model, up to 64 tokens (about 60 characters)" in page  # a token a character, and its BOS


def test_context_length_is_the_model_s(ctx: Context, run_path: Path, tmp_path: Path) -> None:
    assert ctx.context_length == 64
    elsewhere = Context(open_run(run_path), tmp_path / "missing")
    assert elsewhere.context_length == elsewhere.run.geometry.width
    assert create_app(elsewhere.run, tmp_path / "missing") is not None


def test_prompt_of_one_token_is_singular(ctx: Context) -> None:
    answers: list[Any] = _read(ctx, _address(text="x"))
    assert "'1 token'" in str([part.to_plotly_json() for part in answers])
