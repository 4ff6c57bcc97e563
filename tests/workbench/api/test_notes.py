"""Notes, tags and lists over HTTP are those beside the run."""

from __future__ import annotations

import pytest

from workbench import Run
from workbench.client import COLUMNS, ApiError, Client
from workbench.notes import open_notes


def test_notes(run: Run, client: Client) -> None:
    assert client.notes(0, 3).columns.tolist() == COLUMNS["Note"].split()
    first = client.add_note(0, 3, "opens <b>loops</b>", "Ada")
    second = client.add_note(0, 4, "closes them")
    kept = open_notes(run).notes_of(0, 3)
    assert kept[["id", "text", "author"]].values.tolist() == [[first, "opens <b>loops</b>", "Ada"]]
    assert client.notes(0, 3)["time"].tolist() == kept["time"].tolist()
    assert client.notes(limit=1)["id"].tolist() == [second]
    assert client.change_note(first, "opens <i>loops</i> ", "opens <b>loops</b>") == "opens <i>loops</i>"
    with pytest.raises(ApiError, match="changed meanwhile and is now 'opens <i>loops</i>'") as refused:
        client.change_note(first, "closes loops", "opens <b>loops</b>")
    assert refused.value.status == 400
    assert client.notes(0, 3)[["text", "author"]].values.tolist() == [["opens <i>loops</i>", "Ada"]]
    client.delete_note(first)
    assert client.notes(0, 3).empty
    with pytest.raises(ApiError, match="no note") as gone:
        client.change_note(first, "again", "opens <i>loops</i>")
    assert gone.value.status == 404
    with pytest.raises(ApiError, match="no note") as error:
        client.delete_note(first)
    assert error.value.status == 404
    with pytest.raises(ApiError, match="give both"):
        client.notes(0)


def test_tags(run: Run, client: Client) -> None:
    client.tag(0, 3, "loops / ends")
    client.tag(1, 2, "loops / ends")
    assert client.tagged("loops / ends") == [(0, 3), (1, 2)] == open_notes(run).tagged("loops / ends")
    assert client.tags().query("tag == 'loops / ends'")["experts"].tolist() == [2]
    client.untag(0, 3, "loops / ends")
    client.untag(1, 2, "loops / ends")
    assert "loops / ends" not in client.tags()["tag"].tolist()


def test_lists(run: Run, client: Client) -> None:
    name = client.create_list(" a / b ", "two", [(0, 3), (1, 2)])
    assert name == "a / b"
    client.add_to_list(name, 0, 1)
    client.remove_from_list(name, 0, 3)
    client.tag(1, 2, "kept")
    found = client.list_experts(name)
    assert found[["group", "expert"]].values.tolist() == [[1, 2], [0, 1]]
    assert found["tags"].tolist() == [["kept"], []]
    assert found.attrs == {"name": name, "description": "two"}
    assert client.describe_list(name, " three ", "two") == "three"
    with pytest.raises(ApiError, match="is now 'three'"):
        client.describe_list(name, "four", "two")
    assert client.describe_list(name, "", "three") == "" == open_notes(run).description(name)
    listed = client.lists().set_index("name")
    assert listed.loc[name, "experts"] == 2
    assert listed["time"].isna().to_dict() == {"bookmarks": True, name: False}
    client.delete_list(name)
    assert client.lists()["name"].tolist() == ["bookmarks"] == open_notes(run).lists()["name"].tolist()
    with pytest.raises(ApiError, match="cannot be deleted"):
        client.delete_list("bookmarks")
    with pytest.raises(ApiError) as error:
        client.add_note(0, 10**9, "nowhere")
    assert (error.value.status, error.value.kind) == (404, "not-found")


def test_saved_edits(run: Run, client: Client) -> None:
    assert client.saved_edits().columns.tolist() == COLUMNS["SavedEdit"].split()
    assert client.save_edit(" no loops ", "0:3; 1:2=0.5") == "no loops"
    kept = open_notes(run).edits()
    found = client.saved_edits()
    assert found.loc[found["name"] == "no loops", "edit"].tolist() == ["0:3=0, 1:2=0.5"]
    assert found["time"].tolist() == kept["time"].tolist()
    assert client.edit(found["edit"].iloc[0]).experts == 2
    with pytest.raises(ApiError, match="already"):
        client.save_edit("no loops", "0:3")
    with pytest.raises(ApiError) as error:
        client.save_edit("nowhere", f"0:{run.num_keys**2}")
    assert error.value.status == 404
    client.delete_edit("no loops")
    assert client.saved_edits().empty
    with pytest.raises(ApiError, match="no edit"):
        client.delete_edit("no loops")
