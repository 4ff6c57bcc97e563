"""The split of documents: one part chooses experts, the other measures."""

from __future__ import annotations

import pytest

from workbench.analysis.removal.heldout import HeldOut
from workbench.errors import BadInputError, NotFoundError
from workbench.store import Run


def test_held_out_documents_are_in_one_part(run: Run) -> None:
    """Too short ones, where nothing is predicted, are in none."""
    heldout = HeldOut.split(run, 0)
    assert heldout.documents["doc"].is_unique
    assert set(heldout.documents["doc"]) == set(run.documents.query("tokens > 1")["doc"])
    assert heldout.measuring["measures"].all()
    assert 0 < len(heldout.measuring) < len(heldout.documents)


def test_held_out_skips_labels_of_one_document_by_name(run: Run) -> None:
    run.documents = run.documents.query("label != 'c' or doc < 7")
    heldout = HeldOut.split(run, 0)
    assert heldout.labels == ["ada", "lisp"]
    assert heldout.skipped == ["c"]
    label_of = run.documents.set_index("doc")["label"][heldout.documents["doc"]]
    assert [heldout.labels[number] for number in heldout.documents["label"]] == label_of.tolist()
    assert heldout.choosing_sums(0).mass.shape == (2, run.num_keys**2)
    with pytest.raises(BadInputError, match="label 'c' of .* has fewer than two documents"):
        heldout.number("c")
    with pytest.raises(NotFoundError):
        heldout.number("cobol")


def test_held_out_needs_two_labels_that_can_be_split(run: Run) -> None:
    run.documents = run.documents.query("label == 'ada' or doc == 7 or doc == 14")
    with pytest.raises(BadInputError, match="1 of the 3 labels of .* 'c', 'lisp' have fewer"):
        HeldOut.split(run, 0)


@pytest.mark.parametrize("seed", range(5))
def test_held_out_keeps_near_copies_on_one_side(run: Run, seed: int) -> None:
    copied = {0: 0, 2: 0, 4: 0, 5: 0, 8: 7, 13: 7}  # document -> the first one that it copies; 13 has another label
    run.documents = run.documents.assign(original=[copied.get(doc, doc) for doc in run.documents["doc"]])
    documents = HeldOut.split(run, seed).documents
    assert documents.groupby("unit")["measures"].nunique().max() == 1
    assert documents.set_index("doc")["unit"][[4, 3, 13]].tolist() == [0, 3, 7]


def test_held_out_skips_a_label_whose_documents_are_all_copies_of_one(run: Run) -> None:
    ada = (run.documents["label"] == "ada") & (run.documents["tokens"] > 1)
    first = run.documents[ada]["doc"].min()
    run.documents = run.documents.assign(original=run.documents["doc"].where(~ada, first))
    assert HeldOut.split(run, 0).skipped == ["ada"]


@pytest.mark.parametrize("seed", range(5))
def test_held_out_keeps_the_documents_of_a_project_on_one_side(run: Run, seed: int) -> None:
    """Of labels with several; near copies in other projects go with the document that they copy."""
    documents = run.documents
    several = documents["label"] != "c"  # all documents of that one are of one project
    projects = (documents["doc"] // 4).astype(str).where(several, "only")
    copied, copying = documents[several & (documents["tokens"] > 1)]["doc"].agg(["min", "max"])
    original = documents["doc"].where(documents["doc"] != copying, copied)
    run.documents = documents.assign(project=projects, original=original)
    held = HeldOut.split(run, seed).documents.merge(run.documents[["doc", "project"]], on="doc")
    assert held["label"].nunique() == 3
    sides = held[held["project"] != "only"].query("doc != @copying").groupby(["label", "project"])["measures"]
    assert sides.nunique().max() == 1
    assert held[held["project"] == "only"]["measures"].nunique() == 2
    side = held.set_index("doc")["measures"]
    assert side[copying] == side[original[copying]]
    assert held["unit"].nunique() == len(held) - 1  # documents, not projects, are what bootstraps draw


def test_a_label_of_one_project_is_split_by_documents(run: Run) -> None:
    before = HeldOut.split(run, 0).documents
    run.documents = run.documents.assign(project="one")
    assert HeldOut.split(run, 0).documents.equals(before)
