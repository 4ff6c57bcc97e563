"""Verification finds content that does not fit together, though every checksum in the manifest was made to fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from workbench.store import verify_run

UNIT = 2.0**-36  # of masses
Change = Callable[[pa.Table], pa.Table]


def _with(table: pa.Table, name: str, values: Any) -> pa.Table:
    at = table.column_names.index(name)
    return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))


def _add(name: str, row: int, more: float) -> Change:
    def change(table: pa.Table) -> pa.Table:
        values = table[name].to_numpy().copy()
        values[row] += more
        return _with(table, name, values)

    return change


def _swap_rows(table: pa.Table) -> pa.Table:
    order = np.arange(len(table))
    order[[2, 5]] = order[[5, 2]]
    return table.take(pa.array(order))


def _in_lists(name: str, change: Callable[[list[Any]], list[Any]]) -> Change:
    """Changes the list in row 3 of a column."""

    def changed(table: pa.Table) -> pa.Table:
        lists = table[name].to_pylist()
        lists[3] = change(lists[3])
        return _with(table, name, lists)

    return changed


def _move_mass(table: pa.Table) -> pa.Table:
    """From one label to the other, so that every sum holds."""
    moved = np.rint(table["mass:a"].to_numpy() / 20 / UNIT) * UNIT
    table = _with(table, "mass:b", table["mass:b"].to_numpy() + moved)
    return _with(table, "mass:a", table["mass:a"].to_numpy() - moved)


def _move_tokens(table: pa.Table) -> pa.Table:
    moved = table["tokens:a"].to_numpy() > 2
    table = _with(table, "tokens:b", table["tokens:b"].to_numpy() + moved)
    return _with(table, "tokens:a", table["tokens:a"].to_numpy() - moved)


def _move_bins(table: pa.Table) -> pa.Table:
    """From the fullest bin to the one below."""
    bins = np.array(table["histogram"].to_pylist())
    full, rows = bins.argmax(1), np.arange(len(bins))
    bins[rows, full] -= 1
    bins[rows, full - 1] += 1
    return _with(table, "histogram", bins.tolist())


def _swap_scores(table: pa.Table) -> pa.Table:
    """Every expert's best score goes to its second-best token."""
    row, token = table["row"].to_numpy().copy(), table["token"].to_numpy().copy()
    first = np.flatnonzero(np.diff(table["expert"].to_numpy(), prepend=-1, append=-2)[:-1])
    first = first[np.diff(first, append=len(row)) > 1]
    for column in (row, token):
        column[first], column[first + 1] = column[first + 1].copy(), column[first].copy()
    return _with(_with(table, "row", row), "token", token)


ROUTING, INDEX = "routing/part-00000-group-1.parquet", "index/part-00001-group-0.parquet"
TOKENS, DOCUMENTS = "tokens/part-00001.parquet", "documents/part-00000.parquet"
EXPERTS, EXAMPLES, INTERVALS = (f"{folder}/group-0.parquet" for folder in ("experts", "examples", "intervals"))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (ROUTING, lambda t: t.slice(1), "rows for"),
        (ROUTING, _swap_rows, "routing inverted index of the routing|does not match the routing"),
        (ROUTING, _in_lists("keys1", lambda keys: keys[::-1]), "keys do not ascend"),
        (ROUTING, _in_lists("probs1", lambda probs: [probs[0] / 2, *probs[1:]]), "do not add up to 1"),
        (
            ROUTING,
            _in_lists("probs2", lambda probs: probs[:-1]),
            "different numbers of keys and probabilities|malformed",
        ),
        (ROUTING, _in_lists("keys2", lambda keys: [*keys[:-1], 60_000]), "keys that the model does not have"),
        (ROUTING, lambda t: t.rename_columns(["a", "b", "c", "d"]), "columns are not those|does not hold"),
        (INDEX, lambda t: t.slice(0, len(t) - 1), "inverted index of the routing|does not match the routing"),
        (
            INDEX,
            _in_lists("places", lambda places: [places[0] + 1, *places[1:]]),
            "inverted index of the routing|does not match the routing",
        ),
        (INDEX, _swap_rows, "inverted index of the routing|does not match the routing"),
        (TOKENS, _add("token", 7, 1), "token ids do not match those of their rows"),
        (TOKENS, _add("position", 7, 1), "positions do not count up"),
        (TOKENS, _swap_rows, "positions do not count up"),
        (TOKENS, lambda t: _with(t, "label", ["a"] * len(t)), "labels differ"),
        (TOKENS, lambda t: t.drop_columns("end"), "columns are not those"),
        (DOCUMENTS, _add("row", 1, 1), "documents are not consecutive"),
        (DOCUMENTS, _add("doc", 1, 1), "not those of the manifest"),
        (DOCUMENTS, _add("window", 1, 1), "context windows are not consecutive"),
        (DOCUMENTS, lambda t: _with(t, "kept", [False] * len(t)), "not those that keep_routing asks for"),
        (EXPERTS, lambda t: t.slice(1), "without statistics|masses do not add up"),
        (EXPERTS, _swap_rows, "expert is not ascending"),
        (EXPERTS, _add("mass", 4, 0.5), "masses by label do not add up"),
        (EXPERTS, _add("max", 4, -1e-3), "is not its max"),
        (EXPERTS, _add("mean", 4, 1e-3), "mean is not mass / tokens"),
        (EXPERTS, _move_mass, "do not add up to tokens times heads"),
        (EXPERTS, _move_tokens, "active tokens that contradict the routing"),
        (
            EXPERTS,
            _move_bins,
            "histogram that contradict the routing|that the histograms imply|max is not in the last bin",
        ),
        (EXAMPLES, lambda t: t.slice(1), "is not its max"),
        (EXAMPLES, _add("row", 3, 1), "examples that contradict the routing"),
        (EXAMPLES, _swap_scores, "examples that contradict the routing"),
        (EXAMPLES, _add("score", 1, 0.5), "are not descending"),
        (EXAMPLES, _add("token", 1, 1), "token ids do not match those of their rows"),
        (EXAMPLES, lambda t: pa.concat_tables([t, t.slice(len(t) - 1)]), "twice for one expert"),
        (INTERVALS, lambda t: t.slice(1), "not have the number of tokens"),
        (INTERVALS, _add("bin", 0, 1), "not in their bins"),
        (INTERVALS, lambda t: t.filter(pc.not_equal(t["bin"], 15)), "not have the number of tokens"),
    ],
)
def test_a_changed_file_with_its_checksum_made_to_fit(copy, name, change, said) -> None:
    copy.rewrite(name, change)
    problems = verify_run(copy.path)
    assert problems
    assert re.search(said, " ".join(problems)), problems


@pytest.mark.parametrize("folder", ["tokens", "documents", "routing", "index"])
def test_two_parts_exchanged(copy, folder) -> None:
    suffix = "-group-0" if folder in ("routing", "index") else ""
    copy.exchange(*(f"{folder}/part-0000{n}{suffix}.parquet" for n in (0, 1)))
    assert any("changed since" in p or "were written" in p for p in verify_run(copy.path))
    copy.relist()
    assert verify_run(copy.path)


@pytest.mark.parametrize("folder", ["experts", "examples", "intervals"])
def test_two_groups_exchanged(copy, folder) -> None:
    copy.exchange(*(f"{folder}/group-{n}.parquet" for n in (0, 1)))
    copy.relist()
    assert verify_run(copy.path)
