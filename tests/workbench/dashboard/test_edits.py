"""Edits in a prompt's address: read back as written, refused in words, and the edit of the model they make."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monet_model import MonetForCausalLM
from monet_model.edits import MAX_FACTOR
from monet_model.identity import model_identity
from workbench import open_run
from workbench.analysis import Prompt, read_analysis, read_prompt
from workbench.dashboard.context import Context
from workbench.dashboard.edits import edited_experts, expert_edit, read_edit
from workbench.dashboard.links import prompt_search
from workbench.errors import BadInputError, NotAnalysedError, NotFoundError, WorkbenchError
from workbench.search import experts_firing_on
from workbench.store import edit_text
from workbench.store.address import Expert
from workbench.store.edit_places import TokenPlaces
from workbench.store.edit_text import EditRow, LabelExperts, PromptEdit, SearchExperts, TopExperts

ROWS = st.builds(
    EditRow,
    st.one_of(
        st.builds(Expert, st.sampled_from([0, 1]), st.integers(0, 255)),
        st.builds(LabelExperts, st.sampled_from(["lua", "python"]), st.booleans(), st.integers(0, 90).map(float)),
        st.builds(TopExperts, st.integers(1, 999), st.integers(0, 99)),
        st.builds(SearchExperts, st.sampled_from(edit_text.SEARCHES), st.text(min_size=1), st.integers(1, 99)),
    ),
    st.floats(-8, 8).map(lambda value: round(value, 3)),
    st.sampled_from([None, *map(TokenPlaces.read, ("3", "3,5-9", "4-", "last", "1,last-"))]),
)
EDITS = st.lists(ROWS, max_size=8, unique_by=lambda row: row.key).map(lambda rows: PromptEdit(tuple(rows)))


def _experts(*factors: tuple[Expert, float]) -> PromptEdit:
    return PromptEdit(tuple(EditRow(expert, factor) for expert, factor in factors))


@pytest.fixture(scope="module")
def ctx(run_path: Path) -> Context:
    return Context(open_run(run_path))


@pytest.fixture(scope="module")
def model(ctx: Context) -> MonetForCausalLM:
    return ctx.model()


@given(edit=EDITS)
def test_prompt_edit_survives_the_address(ctx: Context, edit: PromptEdit) -> None:
    query = dict(parse_qsl(prompt_search({"text": "x"}, **edit.query()).lstrip("?")))
    assert read_edit(query, ctx) == edit


@pytest.mark.parametrize("text", ["lua, python", "python,lua", "lua"])
def test_labels_of_without_are_removed(ctx: Context, text: str) -> None:
    labels = [part.strip() for part in text.split(",")]
    assert read_edit({"without": text}, ctx) == PromptEdit(tuple(EditRow(LabelExperts(label)) for label in labels))


def test_labels_with_any_character_stay_whole(monkeypatch: pytest.MonkeyPatch, ctx: Context) -> None:
    hostile = "a, b=c;/confirmed:é~2C"
    monkeypatch.setattr(ctx.run, "check_label", lambda label: None)
    edit = PromptEdit((EditRow(LabelExperts(hostile, ratio=2.5), 0.5),))
    assert read_edit(edit.query(), ctx) == edit


def test_of_rows_of_the_same_experts_the_last_one_stands(ctx: Context) -> None:
    assert str(read_edit({"edit": "0:1=0, 0:2=3, 0:1=2"}, ctx)) == "0:2=3, 0:1=2"
    assert str(read_edit({"edit": "0:1=0 @3, 0:1=4, 0:1=2@3"}, ctx)) == "0:1=4, 0:1=2 @3"


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("0:1=0 @3, 5-9, 0:2=2", ["0:1=0 @3,5-9", "0:2=2"]),
        ("0:1@last,7-;top:3=2 @ 1", ["0:1=0 @last,7-", "top:3=2 @1"]),
        ("label:lua=0 @2\n1:5=0.5 @last-", ["label:lua=0 @2", "1:5=0.5 @last-"]),
    ],
)
def test_rows_say_at_which_tokens_they_hold(ctx: Context, text: str, rows: list[str]) -> None:
    assert list(map(str, read_edit({"edit": text}, ctx).rows)) == rows


def test_prompt_edit_toggled_twice_is_the_same() -> None:
    edit = PromptEdit((EditRow(Expert(0, 1), 2.0), EditRow(LabelExperts("lua"))))
    assert edit.toggled(Expert(1, 5)).factors == {Expert(0, 1): 2.0, Expert(1, 5): 0.0}
    assert edit.toggled(Expert(1, 5)).toggled(Expert(1, 5)) == edit
    assert edit.toggled(Expert(0, 1)).factors == {}
    assert not PromptEdit()


def test_rows_are_scaled_added_and_dropped() -> None:
    edit = _experts((Expert(0, 1), 2.0), (Expert(0, 2), 3.0))
    assert str(edit.scaled({1: -1.5})) == "0:1=2, 0:2=-1.5"
    assert str(edit.without(0)) == "0:2=3"
    assert str(edit.plus(EditRow(Expert(0, 1)))) == "0:2=3, 0:1=0"


@pytest.mark.parametrize(
    ("query", "kind", "message"),
    [
        ({"edit": "0:1=x"}, BadInputError, "'0:1=x' is not an edit; write group:id=factor"),
        ({"edit": "0:1=0, 5"}, BadInputError, "'0:1=0, 5' is not an edit"),
        ({"edit": "0:1=0 @"}, BadInputError, "names no tokens; write 3,5-9"),
        ({"edit": "0:1=0 @x"}, BadInputError, "names no tokens"),
        ({"edit": "0:1=0 @9-3"}, BadInputError, "write 3-9"),
        ({"edit": "0:1=inf"}, BadInputError, "is not an edit"),
        ({"edit": "0:1=1e38"}, BadInputError, "the factor of '0:1=1e38' is beyond 1000"),
        ({"edit": "0:1=-1e39"}, BadInputError, "is beyond 1000"),
        ({"edit": "0:99999=0"}, NotFoundError, "no expert 99999"),
        ({"edit": "7:1=0"}, NotFoundError, "no group 7"),
        ({"edit": "<b>"}, BadInputError, "names no expert"),
        ({"edit": "top:0=0"}, BadInputError, "write top:10=factor"),
        ({"edit": "top:3/at:0=0"}, BadInputError, "write top:10=factor"),
        ({"edit": "search:3/firing/=0"}, BadInputError, "write search:10/firing/TEXT"),
        ({"edit": "search:0/firing/x=0"}, BadInputError, "write search:10/firing/TEXT"),
        ({"edit": "search:3/meaning/x=0"}, BadInputError, "firing, text, documents, explanations"),
        ({"edit": "top:x"}, BadInputError, "write top:10=factor"),
        ({"edit": "label:cobol=0"}, NotFoundError, "no label 'cobol'"),
        ({"edit": "label:lua/sure=0"}, BadInputError, "write label:NAME/confirmed/ratio:3"),
        ({"edit": "label:lua/ratio:nan=0"}, BadInputError, "write label:NAME/confirmed/ratio:3"),
        ({"without": "lua,cobol"}, NotFoundError, "no label 'cobol'"),
        ({"without": "cobol"}, NotFoundError, "no label 'cobol'"),
    ],
)
def test_read_edit_refuses_what_is_no_edit(
    ctx: Context, query: dict[str, str], kind: type[WorkbenchError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        read_edit(query, ctx)


def test_read_edit_refuses_a_label_of_a_run_that_is_not_analysed(bare_run_path: Path) -> None:
    with pytest.raises(NotAnalysedError, match="monet analyze"):
        read_edit({"without": "lua"}, Context(open_run(bare_run_path)))


def test_expert_edit_removes_the_label_and_scales_the_named(ctx: Context, model: MonetForCausalLM) -> None:
    derived = read_analysis(ctx.run, 1)
    lua = derived.index[derived["specialised"] == "lua"]
    kept, other = int(lua[0]), int(derived.index[derived["specialised"] != "lua"][0])
    # Its own row wins, wherever it stands.
    rows = EditRow(Expert(1, kept), 1.0), EditRow(LabelExperts("lua")), EditRow(Expert(1, other), 2.0)
    named = edited_experts(PromptEdit(rows), ctx)
    edit = expert_edit(named, model)
    expected = torch.ones(ctx.run.num_keys**2)
    expected[lua.tolist()] = 0.0
    expected[kept], expected[other] = 1.0, 2.0
    assert torch.equal(edit.matrices()[ctx.run.group_layers[1]].flatten(), expected)
    in_group_0 = int((read_analysis(ctx.run, 0)["specialised"] == "lua").sum())
    assert named["row"].value_counts().to_dict() == {0: 1, 1: in_group_0 + len(lua) - 1, 2: 1}
    assert edit.identity == model_identity(model)


@pytest.mark.parametrize(("confirmed", "ratio"), [(True, 0.0), (False, 3.0), (True, 3.0)])
def test_label_rows_name_the_experts_that_their_rule_keeps(ctx: Context, confirmed: bool, ratio: float) -> None:
    named = edited_experts(PromptEdit((EditRow(LabelExperts("lua", confirmed, ratio)),)), ctx)
    expected = set()
    for group in ctx.run.groups:
        for expert, row in read_analysis(ctx.run, group).iterrows():
            kept = row["specialised"] == "lua" and (row["confirmed"] or not confirmed)
            if kept and (not ratio or row["ratio"] >= ratio):
                expected.add((group, expert))
    assert set(named[["group", "expert"]].itertuples(index=False, name=None)) == expected


def test_top_rows_name_the_most_active_experts_of_the_prompt(ctx: Context, model: MonetForCausalLM) -> None:
    reading = read_prompt(model, Prompt.tokenise(ctx.tokenizer(), "def f(x):", ctx.context_length))
    named = edited_experts(PromptEdit((EditRow(TopExperts(5)), EditRow(TopExperts(3, at=2), 2.0))), ctx, reading)
    at_2 = reading.top_experts(3).query("position == 1").nlargest(3, "score")[["group", "expert"]]
    of_row_1 = named[named["row"] == 1][["group", "expert"]]
    assert set(of_row_1.itertuples(index=False)) == set(at_2.itertuples(index=False))
    everywhere = set(reading.most_active(5)[["group", "expert"]].itertuples(index=False, name=None))
    assert everywhere <= set(named[["group", "expert"]].itertuples(index=False, name=None))
    with pytest.raises(BadInputError, match="give the prompt too"):
        edited_experts(PromptEdit((EditRow(TopExperts(5)),)), ctx)
    with pytest.raises(BadInputError, match="token 10 of the prompt, which has 9"):
        edited_experts(PromptEdit((EditRow(TopExperts(5, at=10)),)), ctx, reading)


def test_search_rows_name_the_first_experts_of_the_search(ctx: Context) -> None:
    listed = experts_firing_on(ctx.run, "x", limit=4)
    named = edited_experts(read_edit({"edit": "search:4/firing/x=0.5"}, ctx), ctx)
    assert named[["group", "expert"]].values.tolist() == listed[["group", "expert"]].values.tolist()
    assert set(named["factor"]) == {0.5}


def test_the_bound_of_factors_is_the_models() -> None:
    assert edit_text.MAX_FACTOR == MAX_FACTOR


def test_expert_edit_of_factor_1_edits_nothing(ctx: Context, model: MonetForCausalLM) -> None:
    for edit in (PromptEdit(), _experts((Expert(0, 3), 1.0))):
        assert expert_edit(edited_experts(edit, ctx), model).matrices() == {}
