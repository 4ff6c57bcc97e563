"""Verification counts all experts again: damage that keeps every sum and every file's own order is found too."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from workbench.store import open_run, verify_run
from workbench.store.index import IndexWriter
from workbench.store.priority import priority
from workbench.store.routing import PARQUET, ROW_GROUP, Side, from_arrow, to_arrow

GROUP = ("experts/group-0.parquet", "examples/group-0.parquet", "intervals/group-0.parquet")
EXPERTS, EXAMPLES, INTERVALS = GROUP
ROUTING, INDEX = "routing/part-00000-group-0.parquet", "index/part-00000-group-0.parquet"
UNIT = 2.0**-36  # of masses


def _with(table: pa.Table, columns: dict[str, object]) -> pa.Table:
    for name, values in columns.items():
        at = table.column_names.index(name)
        field = table.schema.field(at)
        table = table.set_column(at, field, pa.array(values, field.type))
    return table


def _plus(table: pa.Table, name: str, rows: list[int], more: list[float]) -> pa.Table:
    values = table[name].to_numpy().copy()
    values[rows] += more
    return _with(table, {name: values})


def _mean(table: pa.Table) -> pa.Table:
    return _with(table, {"mean": table["mass"].to_numpy() / table["tokens"].to_numpy()})


def _move_count(copy) -> None:
    """One active token from an expert to another."""
    table = copy.read(EXPERTS)
    rows = np.flatnonzero(table["tokens:a"].to_numpy() > 3)[:2].tolist()
    bins = np.array(table["histogram"].to_pylist())
    for row, more in zip(rows, (1, -1), strict=True):
        bins[row, bins[row].argmax()] += more
        for name in ("tokens", "tokens:a"):
            table = _plus(table, name, [row], [more])
    copy.write(EXPERTS, _mean(_with(table, {"histogram": bins.tolist()})))


def _move_mass(copy) -> None:
    """A hundredth of one expert's mass to another's."""
    table = copy.read(EXPERTS)
    one, other = np.argsort(table["mass:a"].to_numpy())[[-1, -2]].tolist()
    moved = float(np.rint(table["mass:a"].to_numpy()[one] / 100 / UNIT) * UNIT)
    for name in ("mass", "mass:a"):
        table = _plus(table, name, [one, other], [-moved, moved])
    copy.write(EXPERTS, _mean(table))


def _move_labels(copy) -> None:
    """Mass between labels of one expert, and back between those of another."""
    table = copy.read(EXPERTS)
    least = np.minimum(table["mass:a"].to_numpy(), table["mass:b"].to_numpy())
    rows = np.argsort(least)[[-1, -2]].tolist()
    moved = float(np.rint(least[rows[0]] / 50 / UNIT) * UNIT)
    table = _plus(table, "mass:a", rows, [moved, -moved])
    copy.write(EXPERTS, _plus(table, "mass:b", rows, [-moved, moved]))


def _swap_bins(copy) -> None:
    table = copy.read(EXPERTS)
    bins = np.array(table["histogram"].to_pylist())
    full = int(bins[5].argmax())
    bins[5, [full, full - 1]] = bins[5, [full - 1, full]]
    copy.write(EXPERTS, _with(table, {"histogram": bins.tolist()}))


def _swap_experts(copy, names: tuple[str, ...]) -> None:
    """Everything that some files say of two experts."""
    first, second = copy.read(EXPERTS)["expert"].to_numpy()[[3, 4]]
    for name in names:
        table = copy.read(name)
        expert = table["expert"].to_numpy().copy()
        expert[[*np.flatnonzero(expert == first)]] = -1
        expert[expert == second] = first
        expert[expert == -1] = second
        copy.write(name, _with(table, {"expert": expert}).take(pa.array(np.argsort(expert, kind="stable"))))


def _remove_expert(copy) -> None:
    """The one of least mass, from all files."""
    table = copy.read(EXPERTS)
    gone = table["expert"][int(table["mass"].to_numpy().argmin())]
    for name in GROUP:
        table = copy.read(name)
        copy.write(name, table.filter(pc.not_equal(table["expert"], gone)))


def _replace_sampled(copy) -> None:
    """A sampled token by another one of its bin, with its own score."""
    run, table = open_run(copy.path), copy.read(INTERVALS)
    expert, place = table["expert"].to_numpy(), table["bin"].to_numpy()
    edges = np.array(run.manifest["histogram"])
    for at in np.flatnonzero((expert[2:] == expert[:-2]) & (place[2:] == place[:-2])):
        active, listed = run.activations(0, int(expert[at])), table.slice(at, 3).to_pydict()
        low, high = edges[place[at]] * 1.01, edges[place[at] + 1] / 1.01
        others = active[active["score"].between(low, high) & ~active["row"].isin(listed["row"])]
        if len(others):
            new = others.iloc[0]
            rows = {name: [*values[:2], new[name].item()] for name, values in listed.items() if name in active}
            order = np.argsort(priority(np.array(rows["row"])))
            changed = {}
            for name, values in rows.items():
                column = table[name].to_numpy().copy()
                column[at : at + 3] = np.array(values)[order]
                changed[name] = column
            copy.write(INTERVALS, _with(table, changed))
            return
    raise AssertionError("no bin has more tokens than are sampled")


def _drop_best(copy) -> None:
    """The last one of an expert's best tokens."""
    table = copy.read(EXAMPLES)
    last = np.flatnonzero(np.diff(table["expert"].to_numpy()))[1]
    copy.write(EXAMPLES, pa.concat_tables([table.slice(0, last), table.slice(last + 1)]))


def _reroute(change: Callable[[Side, Side], tuple[Side, Side]]) -> Callable[..., None]:
    """Changes the routing of a part and its index alike."""

    def changed(copy) -> None:
        model = open_run(copy.path).manifest["model"]
        table = to_arrow(*change(*from_arrow(copy.read(ROUTING))))
        copy.write(ROUTING, table, row_group_size=ROW_GROUP, **PARQUET)
        with IndexWriter(copy.path / INDEX, model["heads"], model["keys"]) as index:
            index.add(*from_arrow(table))
        copy.relist()

    return changed


def _scale(one: Side, other: Side) -> tuple[Side, Side]:
    return Side(one.keys, one.probs * np.float32(0.995), one.starts), other


def _swap_rows(one: Side, other: Side) -> tuple[Side, Side]:
    order = np.arange(len(one))
    order[[7, 8]] = [8, 7]
    return one.take(order), other.take(order)


def _swap_probabilities(one: Side, other: Side) -> tuple[Side, Side]:
    probs = one.probs.copy()
    probs[[0, 1]] = probs[[1, 0]]
    return Side(one.keys, probs, one.starts), other


DAMAGES: list[tuple[Callable[..., None], str]] = [
    (_move_count, "active tokens that contradict the routing"),
    (_move_mass, "mass that contradict the routing"),
    (_move_labels, "mass that contradict the routing"),
    (_swap_bins, "histogram that contradict the routing|histogram implies|histogram allows"),
    (lambda copy: _swap_experts(copy, GROUP), "that contradict the routing"),
    (lambda copy: _swap_experts(copy, (EXAMPLES,)), "best score is not its max"),
    (lambda copy: _swap_experts(copy, (INTERVALS,)), "intervals that contradict the routing|that the histograms imply"),
    (_remove_expert, "is active in the routing and has no statistics|do not add up"),
    (_replace_sampled, "intervals that contradict the routing"),
    (_drop_best, "examples that contradict the routing"),
    (_reroute(_scale), "do not add up to 1|that contradict the routing"),
    (_reroute(_swap_rows), "that contradict the routing"),
    (_reroute(_swap_probabilities), "that contradict the routing"),
    (_reroute(lambda one, other: (other, one)), "that contradict the routing"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGES)
def test_damage_that_fits_everything_but_the_routing(copy, damage, said) -> None:
    damage(copy)
    problems = verify_run(copy.path)
    assert problems
    assert re.search(said, " ".join(problems)), problems


def test_every_expert_is_counted_again(copy) -> None:
    """Whichever pair of experts changes places."""
    original = copy.read(EXPERTS)
    rest = original.drop_columns("expert")
    for row in range(0, len(original) - 1, 7):
        order = np.arange(len(original))
        order[[row, row + 1]] = [row + 1, row]
        swapped = rest.take(pa.array(order)).add_column(0, original.schema.field(0), original["expert"])
        copy.write(EXPERTS, swapped)
        assert verify_run(copy.path)


def test_statistics_of_a_run_that_keeps_some_routing_are_what_that_gives_at_least(sampled_copy) -> None:
    run, table = open_run(sampled_copy.path), sampled_copy.read(EXPERTS)
    row = int(np.argmax(table["tokens:a"].to_numpy()))
    counted = (run.activations(0, table["expert"][row].as_py())["label"] == "a").sum()
    more = int(table["tokens:a"][row].as_py() - counted + 1)
    assert 0 < more <= table["tokens:a"][row].as_py()
    copied = _plus(_plus(table, "tokens:a", [row], [-more]), "tokens:b", [row], [more])
    sampled_copy.write(EXPERTS, copied)
    assert re.search(
        "active tokens that contradict the routing|mean is above max", " ".join(verify_run(sampled_copy.path))
    )


def test_best_tokens_of_documents_without_routing_are_held_against_the_sampled_ones(sampled_copy) -> None:
    run, table = open_run(sampled_copy.path), sampled_copy.read(EXAMPLES)
    _, first = np.unique(table["expert"].to_numpy(), return_index=True)
    inside = np.setdiff1d(np.arange(len(table)), [*first, *(first - 1)])
    row, score = table["row"].to_numpy(), table["score"].to_numpy().copy()
    kept = run.documents["kept"].to_numpy()[run.tokens(row)["doc"]]
    both = np.isin(
        table["expert"].to_numpy().astype(np.int64) * run.tokens_total + row,
        sampled_copy.read(INTERVALS)["expert"].to_numpy().astype(np.int64) * run.tokens_total
        + sampled_copy.read(INTERVALS)["row"].to_numpy(),
    )
    at = next(n for n in inside if not kept[n] and both[n] and score[n] < score[n - 1])
    score[at] = np.nextafter(score[at], np.float32(1))
    sampled_copy.write(EXAMPLES, _with(table, {"score": score}))
    assert "scores differ from those of the same tokens in the examples" in " ".join(verify_run(sampled_copy.path))
