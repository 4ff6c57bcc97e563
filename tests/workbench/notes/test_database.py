"""The file of the notes: written by several programs at once, and refused in words where it is not as it should be."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest

from workbench import Run, open_run
from workbench.errors import BadInputError, DamagedError, UnsupportedError
from workbench.notes import Notes, open_notes
from workbench.store.address import Expert

EACH = 30
WRITER = """
import sys
from workbench import open_run
from workbench.notes import open_notes
notes, name = open_notes(open_run(sys.argv[1])), sys.argv[2]
sys.stdin.readline()  # until both are ready
for number in range(int(sys.argv[3])):
    notes.add_note(0, number, name)
    notes.tag(0, number, "shared")
    notes.add_to_list("bookmarks", 0, number)
    notes.add_to_list("bookmarks", 1, number if name == "a" else 100 + number)
    notes.move("bookmarks", 1, number if name == "a" else 100 + number, 0)
"""


def test_two_processes_write_at_once(run: Run, notes: Notes) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(run.path), name, str(EACH)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        _, said = writer.communicate(timeout=120)
        assert writer.returncode == 0, said
    both = notes.recent_notes(1000)
    assert both["text"].value_counts().to_dict() == {"a": EACH, "b": EACH}
    assert notes.all_tags().values.tolist() == [["shared", EACH]]
    experts = notes.list_experts("bookmarks")
    assert len(experts) == len(set(experts)) == 3 * EACH
    with closing(sqlite3.connect(notes.path)) as connection:
        (places,) = zip(*connection.execute("SELECT place FROM items ORDER BY place"), strict=True)
        assert places == tuple(range(3 * EACH))
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_threads_share_notes(notes: Notes) -> None:
    threads = [Thread(target=lambda: [notes.add_note(0, 1, "x") for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(notes.notes_of(0, 1)) == 20


def test_a_failed_change_leaves_nothing(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    notes.create_list("x")
    monkeypatch.setattr("workbench.notes.lists.MOST_EXPERTS", 0)
    with pytest.raises(BadInputError, match="would have"):
        notes.create_list("y", "", [Expert(0, 1)])
    assert notes.lists()["name"].tolist() == ["bookmarks", "x"]


def test_another_version_is_refused(notes: Notes) -> None:
    notes.tag(0, 1, "x")
    with closing(sqlite3.connect(notes.path)) as connection:
        connection.execute("PRAGMA user_version = 7")
    for act in (notes.lists, lambda: notes.tag(0, 1, "y")):
        with pytest.raises(UnsupportedError, match="schema version 7, and this workbench reads 1"):
            act()


def test_notes_about_another_model_are_refused(run: Run, notes: Notes) -> None:
    notes.tag(0, 1, "x")
    other = open_run(run.path)
    other.manifest["model"] = other.manifest["model"] | {"hash": {"model.safetensors": "other"}}
    with pytest.raises(UnsupportedError, match="another model"):
        open_notes(other).tags(0, 1)


def test_a_file_that_is_no_database_is_damaged(notes: Notes) -> None:
    notes.path.write_text("this is no database, however long it may be " * 20)
    for act in (notes.lists, lambda: notes.add_note(0, 1, "x")):
        with pytest.raises(DamagedError, match="is no database of notes"):
            act()


def test_a_folder_that_cannot_be_written_is_named(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "path", Path("/proc/nowhere.notes.sqlite"))
    assert notes.list_experts("bookmarks") == []
    with pytest.raises(UnsupportedError, match=r"/proc/nowhere.notes.sqlite cannot be read or written"):
        notes.create_list("x", "", [Expert(0, 1)])


def test_a_writer_that_holds_the_file_too_long_is_reported(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.notes.database.PATIENCE", 0.1)
    notes.tag(0, 1, "x")
    with closing(sqlite3.connect(notes.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnsupportedError, match="locked"):
            notes.tag(0, 1, "y")
        assert notes.tags(0, 1) == ["x"]  # readers do not wait


def test_notes_of_a_remote_run_are_refused(run: Run) -> None:
    remote = open_run(Path(run.path).resolve().as_uri())
    with pytest.raises(UnsupportedError, match="copy the run"):
        open_notes(remote)


def test_readings_inside_one_see_its_state(run: Run, notes: Notes) -> None:
    notes.tag(0, 3, "before")
    other = open_notes(run)
    with notes.reading():
        assert notes.tags(0, 3) == ["before"]
        other.tag(0, 3, "since")
        assert notes.tags(0, 3) == ["before"]
    assert notes.tags(0, 3) == ["before", "since"]
