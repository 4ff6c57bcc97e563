"""The prompt page: forward passes counted, its limit in words, and how it shows an edit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from dash import Dash, no_update

from workbench import open_run
from workbench.analysis import attribute
from workbench.api.models import MOST_CHARACTERS
from workbench.dashboard.application import app_of, create_app, draw
from workbench.dashboard.context import Context
from workbench.dashboard.links import prompt_search, read_query
from workbench.dashboard.pages import read_address
from workbench.dashboard.pages.prompt import _read
from workbench.dashboard.prompting import editing, saved
from workbench.dashboard.prompting.answer import read_answer
from workbench.dashboard.prompting.draw import change
from workbench.dashboard.prompting.generating import Desk, settings_of
from workbench.dashboard.prompting.samples import SAMPLE_TOKENS, sample_texts
from workbench.dashboard.prompting.several import split_prompts
from workbench.errors import BadInputError, BusyError

TEXT = "def f(x):"


@pytest.fixture(scope="module")
def ctx(run_path: Path) -> Context:
    return Context(open_run(run_path))


def _query(**query: str) -> dict[str, str]:
    return {"text": TEXT} | query


def _page(ctx: Context, **query: str) -> str:
    drawn = _read(ctx, _query(**query))
    return str(drawn)


def _removed(ctx: Context) -> str:
    """An expert that is among the top ones of the prompt's last token."""
    top = read_answer(ctx, _query()).effect.reading.top_experts(1).iloc[-1]
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
    edited, plain = read_answer(ctx, _query(without="lua", target="7")), read_answer(ctx, _query(target="7"))
    assert edited.before is not None
    assert edited.before.probabilities([7]) == plain.reading.probabilities([7]) != edited.reading.probabilities([7])
    assert plain.before is None
    ids = torch.tensor([plain.reading.prompt.ids])
    assert plain.attribution.logit == attribute(ctx.model(), ids, 7).logit != edited.attribution.logit


def test_attribution_at_a_token_equals_that_of_the_prefix_alone(ctx: Context) -> None:
    there = read_answer(ctx, _query(at="4", target="7", minus="9", edit="0:5=0"))
    alone = read_answer(ctx, _query(text=TEXT[:4], target="7", minus="9", edit="0:5=0"))
    assert there.attribution.target == alone.attribution.target == (7, 9)
    assert there.attribution.logit == pytest.approx(alone.attribution.logit, abs=1e-5)
    assert there.logit_before() == pytest.approx(alone.logit_before(), abs=1e-5)
    assert there.next_tokens()["token"].tolist()[:6] == alone.next_tokens()["token"].tolist()[:6]
    assert (there.follows, alone.follows) == (there.effect.reading.prompt.ids[5], None)


def test_next_tokens_keep_those_that_dropped_out(ctx: Context) -> None:
    shown = read_answer(ctx, _query(edit="label:lua=4, label:python=-2, label:html=0"))
    assert shown.before is not None
    table = shown.next_tokens()
    listed = table[table["listed"]]["token"].tolist()
    assert listed == shown.reading.next_tokens()["token"].tolist()
    dropped = set(shown.before.next_tokens()["token"]) - set(listed)
    assert dropped  # the edit is strong enough for the test to mean something
    assert set(table[~table["listed"]]["token"]) == dropped
    assert table["before"].tolist() == shown.before.probabilities(table["token"].tolist())
    assert "no longer among the likeliest 6" in _page(ctx, edit="label:lua=4, label:python=-2, label:html=0")


def test_a_change_says_before_after_and_the_difference() -> None:
    assert change(None, 0.5) == ["0.50"]
    text, difference = change(12.04, 3.1, " %", 1)
    assert (text, difference.children, difference.className) == ("12.0 → 3.1 % ", "(-8.9)", "difference falls")


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
        ("x" * (MOST_CHARACTERS + 1), "The text has 16,001 characters; the limit is 64 tokens (about "),
        ("x" * 100, "The prompt has 101 tokens; the model reads at most 64. Shorten it."),
    ],
    ids=["empty", "characters", "tokens"],
)
def test_prompt_page_refuses_a_text_by_the_model_s_limit(ctx: Context, text: str, message: str) -> None:
    refused = _read(ctx, _query(text=text))
    assert refused.title == "The prompt was not run"
    assert message in refused.children


@pytest.mark.parametrize(
    "query",
    [
        {"edit": "<b>"},
        {"without": "cobol"},
        {"target": "128"},
        {"target": "x"},
        {"minus": "128"},
        {"at": "0"},
        {"at": "10"},
        {"edit": "0:1=0," * 2700},
    ],
)
def test_prompt_page_says_why_it_was_not_run(ctx: Context, query: dict[str, str]) -> None:
    assert _read(ctx, _query(**query)).title == "The prompt was not run"


def test_prompt_page_states_the_model_s_limit(ctx: Context) -> None:
    page = str(draw(ctx, read_address("/prompt", "")).content)
    assert "Text for the model, up to 64 tokens (about 60 characters)" in page  # a token a character, and its BOS


def test_context_length_is_the_model_s(ctx: Context, run_path: Path, tmp_path: Path) -> None:
    assert ctx.context_length == 64
    elsewhere = Context(open_run(run_path), tmp_path / "missing")
    assert elsewhere.context_length == elsewhere.run.geometry.width
    assert create_app(elsewhere.run, tmp_path / "missing") is not None


def test_prompt_of_one_token_is_singular(ctx: Context) -> None:
    answers: list[Any] = _read(ctx, _query(text="x"))
    assert "'1 token'" in str(answers)


def test_a_chat_is_offered_where_the_tokenizer_has_a_template(run_path: Path, tmp_path: Path) -> None:
    shutil.copytree(run_path, tmp_path / "run")
    plain = Context(open_run(tmp_path / "run"))
    assert not plain.chats
    assert _page(plain, chat="1").count("no chat template") == 1
    tokenizer = plain.tokenizer()
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}({{ m['content'] }}{% endfor %})"
    tokenizer.save_pretrained(tmp_path / "run" / "tokenizer")
    ctx = Context(open_run(tmp_path / "run"))
    assert ctx.chats
    shown = read_answer(ctx, _query(chat="1")).effect.reading.prompt
    assert "".join(shown.shown) == f"({TEXT})"
    assert "chat=1" in _page(ctx, chat="1")  # in the addresses of its reports


def test_several_prompts_are_read_one_by_one(ctx: Context) -> None:
    assert split_prompts("a b\n \nc\n") == ["a b", "c"]
    assert split_prompts("a\nb\n---\n\n--- \n c") == ["a\nb", " c"]
    page = _page(ctx, text=f"{TEXT}\nlocal x\n{'y' * 80}", several="1", edit="label:lua=0")
    assert "'3 prompts'" in page
    assert "the prompt has 81 tokens; the model reads at most 64" in page  # in its row: the others are answered
    alone = read_answer(ctx, _query(text="local x", edit="label:lua=0"))
    assert alone.effect.before is not None
    assert f"'{alone.effect.before.loss():.3f} → {alone.effect.reading.loss():.3f} '" in page
    assert _read(ctx, _query(text="x\n" * 51, several="1")).title == "The prompt was not run"
    assert _read(ctx, _query(text="\n", several="1")).title == "The prompt was not run"


def test_sample_texts_begin_documents_of_every_label(ctx: Context) -> None:
    found = dict(sample_texts(ctx))
    assert set(found) == set(ctx.run.labels)
    for label, text in found.items():
        assert len(text) == SAMPLE_TOKENS  # a token a character
        texts = [ctx.run.text(int(doc)) for doc in ctx.run.documents["doc"][ctx.run.documents["label"] == label]]
        assert any(document and document.startswith(text) for document in texts)


def _fields(rows: list[Any], kind: str) -> list[Any]:
    """The values of the fields of a kind, row by row."""
    parts = [part["props"] for row in rows for part in row["props"]["children"]]
    return [props["value"] for props in parts if props.get("id", {}).get("type") == kind]


def test_rows_say_what_is_edited(ctx: Context) -> None:
    query = _query(edit="0:5=0, label:lua/confirmed/ratio:2=9, top:4/at:2=1.5, search:3/firing/~3Cb~3E=2")
    drawn = editing.rows(ctx, query)
    text = str(drawn)
    for said in ("factor of expert 0:5", "confirmed, ratio at least 2", "top 4 experts at token 2", "search for <b>"):
        assert said in text
    sliders, fields = (_fields(drawn, kind) for kind in ("edit-slider", "edit-factor"))
    assert sliders == [0, 4, 1.5, 2]  # the slider ends at 4, the number goes on
    assert fields == [0, 9, 1.5, 2]


def test_rows_say_at_which_tokens_they_hold(ctx: Context) -> None:
    drawn = editing.rows(ctx, _query(edit="0:5=0 @3,5-9, 0:6=0, top:4=2 @last-"))
    assert _fields(drawn, "edit-places") == ["3,5-9", "", "last-"]


@pytest.mark.parametrize(
    ("now", "shown", "stays"),
    [
        ("0:5=0.1, 0:6=2", "0:5=0.1, 0:6=2", True),  # the rows wrote it
        ("0:6=2", "0:6=2", True),
        ("0:5=0.1, 0:6=2", "0:5=0, 0:6=2", False),  # they show what was before, as after the button Back
        ("0:5=0.1, 0:6=2", "0:5=0.1 @3, 0:6=2", False),
        ("0:6=2", "0:5=0, 0:6=2", False),
        ("0:5=nothing", "0:5=0, 0:6=2", False),
    ],
)
def test_rows_that_wrote_the_edit_stay_and_others_are_drawn(ctx: Context, now: str, shown: str, stays: bool) -> None:
    drawn, text, _, drawn_from = editing.followed(ctx, _query(edit=now), _query(edit="0:5=0, 0:6=2"), shown)
    assert (drawn is no_update) == stays
    assert text == now
    assert drawn_from is no_update if stays else drawn_from == now


def test_a_form_that_shows_the_address_stays_as_it_is(ctx: Context) -> None:
    assert editing.followed(ctx, _query(edit="0:5=0", at="2"), _query(edit="0:5=0"), "0:5=1") == (no_update,) * 4


def test_an_edit_of_some_tokens_is_not_offered_as_a_file(ctx: Context) -> None:
    assert "Save as an edit file" in str(editing.file_link(ctx, _query(edit="0:5=0")))
    assert editing.file_link(ctx, _query(edit="0:5=0 @2")) == []
    assert editing.file_link(ctx, {"edit": "top:3=0"}) == []


def _called(app: Dash, output: str, *values: Any) -> Any:
    """What the callback that writes ``output`` returns for the values of its inputs and states."""
    (chosen,) = (callback for name, callback in app.callback_map.items() if output in name)
    return chosen["callback"].__wrapped__(*values)


def test_an_edit_is_kept_and_loaded_without_leaving_the_prompt(run_path: Path, tmp_path: Path) -> None:
    ctx = Context(open_run(shutil.copytree(run_path, tmp_path / "run")))
    app = app_of(ctx)
    assert _called(app, "edit-kept.children", 0, None, "quiet", "0:5=0") == (no_update,) * 4
    assert "changes nothing" in _called(app, "edit-kept.children", 1, None, "quiet", "")[2]
    names, name, error, told = _called(app, "edit-kept.children", 1, None, " quiet ", "0:5=0, label:lua=0.5")
    assert (names, name, error) == ([{"value": "quiet", "label": "quiet"}], "", None)
    assert "Kept as quiet" in told
    assert "already" in _called(app, "edit-kept.children", 1, None, "quiet", "0:5=0")[2]
    search, shown, error = _called(app, "edit-load.value", "quiet", prompt_search(_query(at="2", edit="0:6=2")), TEXT)
    assert read_query(search) == _query(at="2", edit="0:5=0, label:lua=0.5")
    assert (shown, error) == (None, None)
    assert read_query(saved.loaded(ctx, "quiet", "", "typed, not run")) == {
        "text": "typed, not run",
        "edit": "0:5=0, label:lua=0.5",
    }
    ctx.notes.delete_edit("quiet")
    assert "may have been deleted" in _called(app, "edit-load.value", "quiet", search, TEXT)[2]
    assert saved.saved_names(ctx) == []


def test_saved_edits_that_cannot_be_read_leave_the_page_as_it_is(run_path: Path, tmp_path: Path) -> None:
    ctx = Context(open_run(shutil.copytree(run_path, tmp_path / "run")))
    ctx.notes.save_edit("quiet", "0:5=0")
    assert "'quiet'" in str(saved.saved_row(ctx))
    ctx.notes.path.write_bytes(b"no database" * 100)
    assert "'quiet'" not in str(saved.saved_row(ctx))


def test_another_text_drops_the_chosen_tokens_and_another_edit_keeps_them(ctx: Context) -> None:
    query = _query(at="2", target="7", edit="0:5=0")
    assert editing.with_edit(ctx, query, TEXT, "0:5=2") == query | {"edit": "0:5=2"}
    assert editing.with_edit(ctx, query, "x", "") == {"text": "x"}
    with pytest.raises(BadInputError, match="the edit has 16,000 characters"):
        editing.with_edit(ctx, query, TEXT, "x" * MOST_CHARACTERS)


def test_the_desk_writes_one_text_at_a_time_and_stops(ctx: Context, tmp_path: Path) -> None:
    desk, settings = Desk(tmp_path), settings_of({"length": "8"})
    (plain,), written = desk.write(ctx, _query(), settings), desk.write(ctx, _query(edit="label:lua=0"), settings)
    assert [name for name, _ in written] == ["without the edit", "with the edit"]
    assert written[0][1].tokens == plain[1].tokens
    assert len(plain[1].tokens) == 8
    refused: list[str] = []

    other = Desk(tmp_path)  # that of another process of the server

    class Interrupt(type(tmp_path)):  # type: ignore[misc]
        def write_text(self, data: str) -> int:  # type: ignore[override]
            if "tokens" not in data:
                return super().write_text(data)
            with pytest.raises(BusyError) as busy:
                other.write(ctx, _query(), settings)
            refused.append(str(busy.value))
            other.stop()
            return super().write_text(data)

    desk._count = Interrupt(desk._count)
    ((_, text),) = desk.write(ctx, _query(), settings)
    assert other.progress == ""
    assert (len(text.tokens), text.ended) == (1, "stopped")
    assert "writes one at a time" in refused[0]
    with pytest.raises(BadInputError, match="from 1 to 128, got 129"):
        desk.write(ctx, _query(), settings | {"length": 129})


def test_settings_are_read_or_refused() -> None:
    assert settings_of({"temperature": "0.7", "length": ""}) == {
        "temperature": 0.7,
        "top_p": 1.0,
        "length": 32,
        "seed": 0,
    }
    for query in ({"length": "x"}, {"temperature": "nan"}, {"top_p": "inf"}, {"seed": "1.5"}):
        ((name, value),) = query.items()
        with pytest.raises(BadInputError, match=f"the address says {name}='{value}'; write a"):
            settings_of(query)


def test_progress_is_said_before_the_first_token(ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, load, said = Desk(tmp_path), ctx.model, []

    def loading() -> Any:
        said.append(desk.progress)
        return load()

    monkeypatch.setattr(ctx, "model", loading)
    desk.write(ctx, _query(), settings_of({"length": "2"}))
    assert said[0] == "The model is being loaded."
    assert desk.progress == ""
