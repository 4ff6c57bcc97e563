"""What is kept about experts: read back as written, bounded, and refused in words."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.errors import BadInputError, NotFoundError
from workbench.notes import Notes
from workbench.store.address import Expert

HOSTILE = "<script>window.hacked=1</script> \u202e'; DROP TABLE notes; --"


def test_nothing_is_written_until_something_is_kept(notes: Notes) -> None:
    assert notes.lists()["name"].tolist() == ["bookmarks"]
    assert len(notes.recent_notes()) == len(notes.all_tags()) == len(notes.edits()) == len(notes.notes_of(0, 1)) == 0
    assert not notes.path.exists()
    notes.tag(0, 1, "x")
    assert notes.path.exists()
    assert {path.name for path in notes.path.parent.iterdir()} == {"run", "run.notes.sqlite"}


def test_notes_are_kept_in_order_with_author_and_time(notes: Notes) -> None:
    first = notes.add_note(0, 17, f"  {HOSTILE}\r\nsecond line ", "Ada")
    second = notes.add_note(1, 17, "of the other group")
    kept = notes.notes_of(0, 17)
    assert kept["text"].tolist() == [f"{HOSTILE}\nsecond line"]
    assert kept["author"].tolist() == ["Ada"]
    assert notes.has_notes(0, 17)
    assert not notes.has_notes(0, 16)
    assert str(kept["time"].dt.tz) == "UTC"
    assert notes.recent_notes()["id"].tolist() == [second, first]
    notes.delete_note(first)
    assert len(notes.notes_of(0, 17)) == 0
    assert notes.add_note(0, 17, "again") > second
    with pytest.raises(NotFoundError, match=f"no note {first}"):
        notes.delete_note(first)


@given(st.text(min_size=1, max_size=60))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_tag_is_read_back_or_refused(notes: Notes, text: str) -> None:
    try:
        notes.tag(0, 3, text)
    except BadInputError:
        return
    (tag,) = notes.tags(0, 3)
    assert tag.strip() == tag
    assert notes.tagged(tag) == [Expert(0, 3)]
    notes.untag(0, 3, tag)
    assert notes.tags(0, 3) == []


def test_tags_are_counted_and_kept_once(notes: Notes) -> None:
    notes.tag(0, 1, "loops")
    notes.tag(0, 1, " loops ")
    notes.tag(1, 1, "loops")
    notes.tag(0, 1, "cafe\u0301")
    assert notes.tags(0, 1) == ["café", "loops"]
    assert notes.all_tags().values.tolist() == [["café", 1], ["loops", 2]]
    assert notes.tag_names() == ["café", "loops"]


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (lambda notes: notes.add_note(0, 1, "x" * 10_001), r"the note has 10,001 characters; the limit is 10,000"),
        (lambda notes: notes.add_note(0, 1, " \n "), "the note is empty"),
        (lambda notes: notes.add_note(0, 1, "\ud800"), r"U\+D800"),
        (lambda notes: notes.add_note(0, 1, "a\0b"), r"U\+0000"),
        (lambda notes: notes.add_note(0, 1, "x", "Ada\nBob"), r"the author has the character U\+000A"),
        (lambda notes: notes.tag(0, 1, "x" * 61), "the limit is 60"),
        (lambda notes: notes.create_list("x" * 101), "the limit is 100"),
        (lambda notes: notes.create_list("bookmarks"), "'bookmarks' already"),
        (lambda notes: notes.create_list("x", "d" * 1001), "the description has 1,001"),
        (lambda notes: notes.rename("bookmarks", "x"), "cannot be renamed"),
        (lambda notes: notes.delete_list("bookmarks"), "cannot be deleted"),
        (lambda notes: notes.move("bookmarks", 0, 1, -1), "no place -1"),
        (lambda notes: notes.save_edit("x", ""), "changes nothing"),
        (lambda notes: notes.save_edit("x", "0:1=y"), "is not an edit"),
    ],
)
def test_bad_input_is_refused_and_nothing_kept(notes: Notes, keep, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadInputError, match=message):
        keep(notes)
    assert len(notes.lists()) == 1
    assert len(notes.recent_notes()) == 0


@pytest.mark.parametrize(("group", "expert"), [(9, 1), (0, -1), (0, 10**6)])
def test_experts_that_the_run_lacks_are_refused_everywhere(notes: Notes, group: int, expert: int) -> None:
    for act in (
        lambda: notes.add_note(group, expert, "x"),
        lambda: notes.notes_of(group, expert),
        lambda: notes.tag(group, expert, "x"),
        lambda: notes.untag(group, expert, "x"),
        lambda: notes.tags(group, expert),
        lambda: notes.add_to_list("bookmarks", group, expert),
        lambda: notes.remove_from_list("bookmarks", group, expert),
        lambda: notes.move("bookmarks", group, expert, 0),
        lambda: notes.lists_of(group, expert),
        lambda: notes.create_list("x", "", [Expert(group, expert)]),
        lambda: notes.save_edit("x", f"{group}:{expert}=0"),
    ):
        with pytest.raises((NotFoundError, BadInputError)):
            act()
    assert not notes.path.exists()


def test_lists_keep_their_order(notes: Notes) -> None:
    notes.create_list("zoo", "of all sorts", [Expert(1, 5), Expert(0, 3), Expert(1, 5)])
    notes.add_to_list("zoo", 0, 9)
    notes.add_to_list("zoo", 0, 3)  # stays where it is
    assert notes.list_experts("zoo") == [(1, 5), (0, 3), (0, 9)]
    notes.move("zoo", 0, 9, 0)
    assert notes.list_experts("zoo") == [(0, 9), (1, 5), (0, 3)]
    notes.move("zoo", 0, 9, 99)
    notes.remove_from_list("zoo", 1, 5)
    notes.remove_from_list("zoo", 1, 5)
    notes.add_to_list("zoo", 0, 1)
    assert notes.list_experts("zoo") == [(0, 3), (0, 9), (0, 1)]
    notes.add_to_list("bookmarks", 0, 1)
    assert notes.lists()[["name", "experts"]].values.tolist() == [["bookmarks", 1], ["zoo", 3]]
    assert notes.lists_of(0, 1) == ["bookmarks", "zoo"]
    assert notes.rename("zoo", " ark ") == "ark"
    with pytest.raises(BadInputError, match="'bookmarks' already"):
        notes.rename("ark", "bookmarks")
    with pytest.raises(NotFoundError, match="no list 'zoo'"):
        notes.list_experts("zoo")
    with pytest.raises(NotFoundError, match="expert 0:77 is not in the list"):
        notes.move("ark", 0, 77, 0)
    notes.delete_list("ark")
    assert notes.lists_of(0, 1) == ["bookmarks"]


def test_a_note_is_changed_unless_it_was_meanwhile(notes: Notes) -> None:
    number = notes.add_note(0, 17, "a lop", "Ada")
    assert notes.change_note(number, f" {HOSTILE}\r\nend ", "a lop") == f"{HOSTILE}\nend"
    assert notes.notes_of(0, 17)[["id", "text", "author"]].to_numpy().tolist() == [[number, f"{HOSTILE}\nend", "Ada"]]
    with pytest.raises(BadInputError, match="changed meanwhile and is now"):
        notes.change_note(number, "another", "a lop")
    assert notes.change_note(number, f"{HOSTILE}\nend", "a lop") == f"{HOSTILE}\nend"  # two who write the same agree
    for text in ("", "x" * 10_001):
        with pytest.raises(BadInputError, match="the note"):
            notes.change_note(number, text, f"{HOSTILE}\nend")
    notes.delete_note(number)
    with pytest.raises(NotFoundError, match=f"no note {number}"):
        notes.change_note(number, "another", f"{HOSTILE}\nend")


def test_a_description_is_changed_unless_it_was_meanwhile(notes: Notes) -> None:
    notes.create_list("zoo", "old")
    assert notes.describe("zoo", " new ", "old") == notes.description("zoo") == "new"
    with pytest.raises(BadInputError, match="changed meanwhile and is now 'new'"):
        notes.describe("zoo", "another", "old")
    assert notes.describe("zoo", "", "new") == notes.description("zoo") == ""
    assert notes.describe("bookmarks", "seen", "") == notes.description("bookmarks") == "seen"
    with pytest.raises(BadInputError, match="1,001 characters"):
        notes.describe("zoo", "x" * 1001, "")
    with pytest.raises(NotFoundError, match="no list 'ark'"):
        notes.describe("ark", "x", "")


def test_a_list_has_at_most_1000_experts(notes: Notes) -> None:
    notes.create_list("many", "", [Expert(group, expert) for group in notes.run.groups for expert in range(256)])
    assert len(notes.list_items("many")) == len(notes.run.groups) * 256
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workbench.notes.lists.MOST_EXPERTS", 3)
        notes.create_list("few", "", [Expert(0, 1), Expert(0, 2), Expert(0, 3)])
        with pytest.raises(BadInputError, match="would have 4 experts"):
            notes.add_to_list("few", 0, 4)
        notes.add_to_list("few", 0, 3)


def test_items_say_what_is_kept_about_each_expert(notes: Notes) -> None:
    notes.create_list("x", "", [Expert(1, 2), Expert(0, 1)])
    notes.tag(0, 1, "b")
    notes.tag(0, 1, "a")
    notes.tag(0, 2, "of another")
    notes.add_note(1, 2, "first")
    notes.add_note(1, 2, "second")
    assert notes.list_items("x").to_dict("records") == [
        {"group": 1, "expert": 2, "tags": [], "notes": ["first", "second"]},
        {"group": 0, "expert": 1, "tags": ["a", "b"], "notes": []},
    ]
    assert notes.described([]).columns.tolist() == ["group", "expert", "tags", "notes"]


def test_saved_edits_are_read_back(notes: Notes) -> None:
    assert notes.save_edit(" quiet ", "0:1; 1:2=0.5, label:lua=2,") == "quiet"
    (edit,) = notes.edits().to_dict("records")
    assert (edit["name"], edit["edit"]) == ("quiet", "0:1=0, 1:2=0.5, label:lua=2")
    with pytest.raises(BadInputError, match="'quiet' already"):
        notes.save_edit("quiet", "0:1")
    with pytest.raises(NotFoundError, match="cobol"):
        notes.save_edit("x", "0:1, label:cobol=0")
    notes.delete_edit("quiet")
    with pytest.raises(NotFoundError, match="no edit 'quiet'"):
        notes.delete_edit("quiet")


def test_circuits_are_kept_by_name(notes: Notes) -> None:
    assert notes.circuits().empty
    assert not notes.path.exists()
    with pytest.raises(NotFoundError, match="no circuit 'void'"):
        notes.delete_circuit("void")
    assert notes.save_circuit(f" {HOSTILE} ", "?text=x&keep=0.5") == HOSTILE
    (kept,) = notes.circuits().to_dict("records")
    assert (kept["name"], kept["query"]) == (HOSTILE, "?text=x&keep=0.5")
    with pytest.raises(BadInputError, match="already; choose another name"):
        notes.save_circuit(HOSTILE, "?text=y")
    for name, query in (("", "?text=x"), ("x" * 101, "?text=x"), ("x", ""), ("x", "?" + "x" * 32_000)):
        with pytest.raises(BadInputError):
            notes.save_circuit(name, query)
    notes.delete_circuit(HOSTILE)
    assert notes.circuits().empty
