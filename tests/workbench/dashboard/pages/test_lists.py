"""The pages of lists: what is kept is shown and inert, shared lists come from the address, bad ones are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workbench import open_run
from workbench.dashboard.application import create_app, draw
from workbench.dashboard.context import Context
from workbench.dashboard.links import circuit_link, list_link, shared_list_link, tag_link
from workbench.dashboard.listed import ROWS, experts_text, page_links, read_experts, shown_page
from workbench.dashboard.pages import read_address
from workbench.errors import BadInputError, NotFoundError
from workbench.store.address import Expert
from workbench.store.edit_text import read_edit_text

Press = Callable[..., dict[str, Any]]
HOSTILE = "<script>window.hacked = 1</script>"


@pytest.fixture
def kept(run_alone: Path) -> Context:
    """A run beside which nothing is kept yet."""
    return Context(open_run(run_alone))


def _strongest(ctx: Context) -> Expert:
    return Expert(0, int(ctx.experts(0)["mass"].idxmax()))


def test_empty_page_offers_experts_that_exist(kept: Context, page: Callable[[Context, str], str]) -> None:
    shown = page(kept, "/lists")
    assert "Nothing is kept yet" in shown
    link = shared_list_link("", [])
    assert link in "/lists?experts=&name="
    listed = shown.split("/lists?experts=")[1].split("&")[0]
    experts = read_experts(kept, listed)
    assert all(expert.id in kept.experts(expert.group).index for expert in experts)
    assert len(experts) == 4 * len(kept.run.groups)
    assert "Save as list" in page(kept, f"/lists?experts={listed}&name=Strong")
    assert not kept.notes.path.exists()


def test_everything_kept_is_shown_as_text(kept: Context, page: Callable[[Context, str], str]) -> None:
    expert = _strongest(kept)
    kept.notes.create_list(HOSTILE, "of all sorts", [expert])
    kept.notes.add_note(*expert, f"a note {HOSTILE}", "Ada")
    kept.notes.tag(*expert, "a tag")
    kept.notes.save_edit("quiet", "0:17=0")
    shown = page(kept, "/lists")
    for text in (HOSTILE, "of all sorts", f"a note {HOSTILE}", "Ada", "a tag", "quiet", "0:17=0", list_link(HOSTILE)):
        assert text in shown
    assert "Nothing is kept yet" not in shown
    for address in (list_link(HOSTILE), tag_link("a tag"), shared_list_link("x", [expert])):
        shown = page(kept, address)
        assert f"/expert/{expert.group}/{expert.id}" in shown
        assert f"a note {HOSTILE}" in shown
        assert "a tag" in shown
    assert str(_strongest(kept)) in page(kept, f"/expert/{expert.group}/{expert.id}")
    assert "★ Bookmarked" not in page(kept, f"/expert/{expert.group}/{expert.id}")
    kept.notes.add_to_list("bookmarks", *expert)
    assert "★ Bookmarked" in page(kept, f"/expert/{expert.group}/{expert.id}")
    for note in ("first seen", "then changed"):
        number = kept.notes.add_note(*expert, note)
        assert note in page(kept, f"/expert/{expert.group}/{expert.id}")
        kept.notes.delete_note(number)
        assert note not in page(kept, f"/expert/{expert.group}/{expert.id}")


def test_saved_circuits_are_listed_as_they_were_saved(kept: Context, page: Callable[[Context, str], str]) -> None:
    kept.notes.save_circuit(HOSTILE, "?text=public+static%0A&keep=0.5&pin=logit")
    shown = page(kept, "/lists")
    assert "Nothing is kept yet" not in shown
    assert HOSTILE in shown
    assert circuit_link({"text": "public static\n", "keep": "0.5", "pin": "logit"}) in shown
    assert "public·static↵" in shown
    assert f"delete the circuit {HOSTILE}" in shown
    kept.notes.delete_circuit(HOSTILE)
    assert HOSTILE not in page(kept, "/lists")


def test_an_edit_alone_is_something_kept(kept: Context, page: Callable[[Context, str], str]) -> None:
    kept.notes.save_edit("quiet", "0:17=0")
    assert "Nothing is kept yet" not in page(kept, "/lists")


def test_a_list_shows_its_experts_in_order_and_in_pages(kept: Context, page: Callable[[Context, str], str]) -> None:
    ids = [int(expert) for expert in kept.experts(0)["mass"].nlargest(ROWS + 1).index]
    kept.notes.create_list("many", "", [Expert(0, expert) for expert in ids])
    first, second = page(kept, list_link("many")), page(kept, list_link("many", 2))
    places = [first.index(f"'/expert/0/{expert}'") for expert in ids[:ROWS]]
    assert places == sorted(places)
    assert f"'/expert/0/{ids[-1]}'" not in first
    assert f"'/expert/0/{ids[-1]}'" in second
    assert f"'/expert/0/{ids[0]}'" not in second


def test_never_active_experts_may_be_listed(
    kept: Context, page: Callable[[Context, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    experts, never = kept.run.experts, 17
    monkeypatch.setattr(kept.run, "experts", lambda *asked: experts(*asked).drop(never))
    assert "never active" in page(kept, f"/lists?experts=0:{never}")
    assert "1 expert, not saved" in page(kept, f"/lists?experts=0:{never}")


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/lists/nothing", 404),
        ("/lists?experts=0:999999", 404),
        ("/lists?experts=x", 400),
        ("/lists?experts=" + ",".join(f"0:{expert % 256}" for expert in range(1001)), 400),
        ("/lists?tag=unused", 200),
        ("/lists/bookmarks", 200),
    ],
)
def test_addresses_of_nothing_have_their_status(kept: Context, address: str, status: int) -> None:
    path, _, query = address.partition("?")
    assert draw(kept, read_address(path, query)).status == status


def test_a_damaged_file_leaves_the_expert_page(kept: Context, page: Callable[[Context, str], str]) -> None:
    expert = _strongest(kept)
    kept.notes.path.write_text("no database " * 200)
    shown = page(kept, f"/expert/{expert.group}/{expert.id}")
    assert "is no database of notes" in shown
    assert "Active tokens in context" in shown
    assert draw(kept, read_address("/lists", "")).status == 500


def test_experts_are_read_as_they_are_written(kept: Context) -> None:
    experts = [Expert(0, 17), Expert(1, 3)]
    assert read_experts(kept, experts_text(experts)) == experts
    assert read_experts(kept, " 0:17;1:3\n0:17 ") == experts
    assert read_experts(kept, "") == []
    with pytest.raises(BadInputError, match="'17' names no expert"):
        read_experts(kept, "17")
    with pytest.raises(NotFoundError, match="no group 7"):
        read_experts(kept, "7:1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0:1,2", "'0:1,2' leaves out groups; write 0:1, 0:2 for 2 experts, or 0:18 for the one of keys 1 and 2."),
        ("1:5; 0:1, 2, 3", "'0:1, 2, 3' leaves out groups; write 0:1, 0:2, 0:3 for 3 experts."),
        ("0:1,99", "'0:1,99' leaves out groups; write 0:1, 0:99 for 2 experts."),
    ],
)
def test_experts_without_a_group_are_refused_with_what_may_be_meant(kept: Context, text: str, said: str) -> None:
    with pytest.raises(BadInputError) as refused:
        read_experts(kept, text)
    assert str(refused.value) == said
    for edit in (text, f"{text}=0", f"{text} @3", f"label:lua=2, {text}=0.5"):
        with pytest.raises(BadInputError) as refused:
            read_edit_text(kept.run, edit)
        assert str(refused.value) == said


def test_edits_with_tokens_and_other_experts_are_read_as_before(kept: Context) -> None:
    for edit in ("0:1=0, 0:2=0", "0:17=0 @3,5-9, 1:3=0", "0:1=0.5 @2,4, 0:3=0"):
        assert str(read_edit_text(kept.run, edit)) == edit


def test_a_description_is_changed_in_place(kept: Context, press: Press, page: Callable[[Context, str], str]) -> None:
    app, name = create_app(kept.run), kept.notes.create_list("mine", "old", [Expert(0, 17)])
    assert "list-describe" in page(kept, list_link(name))
    assert "list-describe" in page(kept, list_link("bookmarks"))
    assert "list-rename" not in page(kept, list_link("bookmarks"))
    values = {
        "list-describe.n_clicks": 1,
        "list-description.value": f" {HOSTILE} ",
        "list-description-known.data": "old",
        "list-here.data": {"name": name, "page": 1},
    }
    said = press(app, "list-describe.n_clicks", values)
    assert kept.notes.description(name) == HOSTILE
    assert said["list-description-known"]["data"] == said["list-description"]["value"] == HOSTILE
    assert HOSTILE in str(said["list-described"]["children"])
    said = press(app, "list-describe.n_clicks", values | {"list-description.value": "another"})
    assert "changed meanwhile" in said["list-description"]["error"]
    assert kept.notes.description(name) == HOSTILE


def test_a_note_is_changed_in_place(kept: Context, press: Press) -> None:
    app, expert = create_app(kept.run), _strongest(kept)
    number = kept.notes.add_note(*expert, "a lop", "Ada")
    values = {"kept-act.data": {"edit": number}, "kept-expert.data": str(expert)}
    form = str(press(app, "kept-act.data", values, "kept-notes")["kept-notes"]["children"])
    assert "kept-note-save" in form
    assert "'id': 'kept-note-text', " in form
    values = {"kept-act.data": {"edit": None}, "kept-expert.data": str(expert)}
    assert "kept-note-save" not in str(press(app, "kept-act.data", values, "kept-notes")["kept-notes"]["children"])
    values = {
        "kept-note-save.n_clicks": 1,
        "kept-note-text.value": "a loop",
        "kept-note-known.data": {"id": number, "text": "a lop"},
        "kept-expert.data": str(expert),
    }
    said = press(app, "kept-note-save.n_clicks", values)
    assert kept.notes.notes_of(*expert)[["text", "author"]].to_numpy().tolist() == [["a loop", "Ada"]]
    assert "a loop" in str(said)
    said = press(app, "kept-note-save.n_clicks", values | {"kept-note-text.value": "a hoop"})
    assert "changed meanwhile" in said["kept-note-text"]["error"]
    kept.notes.delete_note(number)
    assert "no note" in press(app, "kept-note-save.n_clicks", values)["kept-note-text"]["error"]


@pytest.mark.parametrize(("asked", "count", "page"), [("", 9, 1), ("2", 51, 2), ("2", 50, 1), ("9", 120, 3)])
def test_the_page_asked_for_exists(asked: str, count: int, page: int) -> None:
    assert shown_page(asked, count) == page
    assert (page_links(page, count, str) is None) == (count <= ROWS)


@pytest.mark.parametrize("asked", ["nan", "0", "-1", "1.5", "x"])
def test_what_is_no_page_is_said(asked: str) -> None:
    with pytest.raises(BadInputError, match=f"the page '{asked}' is not a whole number from 1"):
        shown_page(asked, 101)
