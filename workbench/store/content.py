"""Whether what a run's files hold fits together: found even where the manifest was made to fit damaged files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..errors import WorkbenchError
from .index import INDEX, find_expert
from .remote import Place, in_ranges
from .routing import ROUTING, Side, from_arrow
from .rowfile import RowFile
from .schema import (
    DOCUMENTS,
    EXAMPLES,
    HISTOGRAM_BINS,
    INTERVAL_EXAMPLES,
    INTERVALS,
    TOKENS,
    group_name,
    histogram_edges,
    index_name,
    part_name,
    routing_name,
)

SAMPLED = 64  # experts of a group whose statistics are counted again
HALF = 2.0**-9  # two factors in half precision
_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))
TINY_SCORE = 1e-6  # below it, half precision says little
ROUNDING = 2.0**-36  # of a score in a mass


class _Wrong(Exception):
    """A sentence about what does not fit."""


def inconsistencies(path: Place, manifest: dict[str, Any]) -> list[str]:
    """A sentence for each thing in a complete run that contradicts another; its files are there and readable.

    Looked at: the manifest's numbers; rows, order, keys and probabilities of every file; every best and sampled token
    against the tokens; sums of the statistics; and, of a seeded sample of experts, statistics, best and sampled tokens
    counted again from the routing, where the run holds that of every document.
    """
    problems: list[str] = []

    @contextmanager
    def about(name: str) -> Iterator[None]:
        try:
            yield
        except _Wrong as wrong:
            problems.append(f"{name}: {wrong}.")
        except (WorkbenchError, KeyError, IndexError, TypeError, ValueError, pa.ArrowException) as error:
            problems.append(f"{name} does not hold what it should: {error!r}.")

    with about("manifest.json"):
        _check_manifest(manifest)
    if problems:
        return problems
    token = np.zeros(manifest["parts"][-1]["rows"][1], np.int32)
    doc = np.zeros(len(token), np.int64)
    label = np.zeros(len(token), np.int64)
    kept = np.zeros(len(token), bool)
    for part in manifest["parts"]:
        rows = slice(*part["rows"])
        with about(part_name("documents", part["part"])):
            kept[rows] = _check_documents(path, manifest, part)
        with about(part_name("tokens", part["part"])):
            token[rows], doc[rows], label[rows] = _check_tokens(path, manifest, part)
        for group in range(len(manifest["model"]["groups"])):
            with about(routing_name(part["part"], group)):
                _check_routing(path, manifest, part, group, kept[rows])
    if problems:
        return problems
    for group in range(len(manifest["model"]["groups"])):
        with about(group_name("experts", group)):
            experts = _check_experts(path, manifest, group, bool(kept.all()))
            tables = {}
            for folder, schema in (("examples", EXAMPLES), ("intervals", INTERVALS)):
                with about(group_name(folder, group)):
                    tables[folder] = _check_examples(path, manifest, group, folder, schema, experts, token, doc)
            if kept.all():
                _recount(path, manifest, group, experts, tables, label)
    return problems


def _expect(right: Any, sentence: str) -> None:
    if not right:
        raise _Wrong(sentence)


def _read(path: Place, name: str, schema: pa.Schema | None = None) -> pa.Table:
    table = RowFile(in_ranges(path, name)).read()
    if schema is not None:
        _expect(table.schema.equals(schema), "its columns are not those of this schema version")
        nulls = [n for n in table.column_names if n not in _OPTIONAL and table[n].null_count]
        _expect(not nulls, f"{', '.join(nulls)} has nothing in some rows")
    return table


_OPTIONAL = ("start", "end", "source", "score", "bos", "text")


def _check_manifest(manifest: dict[str, Any]) -> None:
    parts, groups = manifest["parts"], range(len(manifest["model"]["groups"]))
    _expect(parts and [part["part"] for part in parts] == list(range(len(parts))), "parts are not numbered 0, 1, …")
    for name in ("documents", "rows", "windows"):
        ends = [0, *(part[name][1] for part in parts)]
        _expect([part[name][0] for part in parts] == ends[:-1], f"{name} of the parts do not follow on one another")
        _expect(ends == sorted(ends), f"{name} of the parts do not ascend")
    _expect(parts[-1]["documents"][1] == manifest["corpus"]["documents"], "parts do not hold the corpus's documents")
    for part in parts:
        names = [make(part["part"], group) for make in (routing_name, index_name) for group in groups]
        names += [part_name(folder, part["part"]) for folder in ("tokens", "documents")]
        _expect(sorted(part["files"]) == sorted(names), f"the files of part {part['part']} are not all listed")
    names = [group_name(folder, group) for folder in ("experts", "examples", "intervals") for group in groups]
    listed = [name for name in manifest["files"] if not name.startswith("tokenizer/")]
    _expect(sorted(listed) == sorted(names), "the files of the whole run are not all listed")
    heads, labels = manifest["model"]["heads"], manifest["labels"]
    _expect(manifest["histogram"] == histogram_edges(heads), "the histogram's edges are not those of the heads")
    _expect(labels == sorted(set(labels)), "labels are not in order, each once")


def _check_documents(path: Place, manifest: dict[str, Any], part: dict[str, Any]) -> NDArray[np.bool_]:
    """Whether the routing of each of the part's token rows is kept."""
    table = _read(path, part_name("documents", part["part"]), DOCUMENTS)
    columns = {name: table[name].to_numpy() for name in ("doc", "row", "tokens", "window", "kept")}
    _expect(columns["doc"].tolist() == list(range(*part["documents"])), "its documents are not those of the manifest")
    ends = part["rows"][0] + np.cumsum(columns["tokens"])
    _expect((columns["tokens"] >= 0).all() and ends[-1] == part["rows"][1], "its tokens are not as many as its rows")
    _expect((columns["row"] == ends - columns["tokens"]).all(), "its documents do not follow on one another")
    read = columns["tokens"] + table["bos"].is_valid().to_numpy()
    spans = -(-read // manifest["settings"]["context"])
    windows = part["windows"][0] + np.cumsum(spans)
    _expect((columns["window"] == windows - spans).all(), "its context windows do not follow on one another")
    _expect(windows[-1] == part["windows"][1], "its context windows are not as many as the manifest says")
    _expect(set(table["label"].to_pylist()) <= set(manifest["labels"]), "it has labels that the manifest lacks")
    return np.repeat(columns["kept"], columns["tokens"])


def _check_tokens(
    path: Place, manifest: dict[str, Any], part: dict[str, Any]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Token id, document and label number of each row."""
    table = _read(path, part_name("tokens", part["part"]), TOKENS)
    documents = _read(path, part_name("documents", part["part"]), DOCUMENTS)
    counts = documents["tokens"].to_numpy()
    doc, token = table["doc"].to_numpy(), table["token"].to_numpy()
    _expect(doc.tolist() == np.repeat(documents["doc"].to_numpy(), counts).tolist(), "its rows are other documents'")
    first = np.repeat(part["rows"][0] + np.cumsum(counts) - counts, counts)
    bos = np.repeat(documents["bos"].is_valid().to_numpy(), counts)
    position = np.arange(*part["rows"]) - first + bos
    _expect((table["position"].to_numpy() == position).all(), "positions do not count up within documents")
    vocabulary = manifest["model"]["vocabulary"]
    _expect(not len(token) or (token.min() >= 0 and token.max() < vocabulary), "it has token ids beyond the vocabulary")
    number = {name: n for n, name in enumerate(manifest["labels"])}
    of_document = np.array([number[name] for name in documents["label"].to_pylist()], np.int64)
    label = np.array([number[name] for name in table["label"].cast(pa.string()).to_pylist()], np.int64)
    _expect((label == np.repeat(of_document, counts)).all(), "labels differ from those of the documents")
    return token, doc, label


def _check_routing(
    path: Place, manifest: dict[str, Any], part: dict[str, Any], group: int, kept: NDArray[np.bool_]
) -> None:
    """Rows of the routing, and the same turned around."""
    heads, keys = manifest["model"]["heads"], manifest["model"]["keys"]
    file = RowFile(in_ranges(path, routing_name(part["part"], group)))
    _expect(len(file) == len(kept), f"it has {len(file):,} rows for {len(kept):,} tokens")
    row, marks = 0, 0
    for number in range(file.groups):
        table = file.read(np.array([number]))
        _expect(table.schema.equals(ROUTING), "its columns are not those of this schema version")
        for name in ROUTING.names:
            _expect(table[name].null_count == 0, "some rows have nothing")
        lengths = [table[name].combine_chunks().value_lengths() for name in ROUTING.names]
        _expect(
            lengths[0].equals(lengths[1]) and lengths[2].equals(lengths[3]),
            "rows have more keys than probabilities or fewer",
        )
        for side, held in enumerate(from_arrow(table)):
            _check_side(held, kept[row : row + len(held)], heads, keys)
            head, key = np.divmod(held.keys.astype(np.int64), keys)
            place = (row + np.repeat(np.arange(len(held)), np.diff(held.starts))) * heads + head
            marks = (marks + _marks(place, side * keys + key, held.probs)) % 2**64
        row += table.num_rows
    index = _read(path, index_name(part["part"], group), INDEX)
    turned = f"{index_name(part['part'], group)} is not this routing turned around"
    cell = (index["side"].to_numpy() - 1).astype(np.int64) * keys + index["key"].to_numpy()
    _expect(len(cell) % (2 * keys) == 0 and (cell == np.arange(len(cell)) % (2 * keys)).all(), turned)
    places, probs = (index[name].combine_chunks() for name in ("places", "probs"))
    counts = places.value_lengths().to_numpy()
    _expect((counts == probs.value_lengths().to_numpy()).all(), turned)
    where, of_row = places.flatten().to_numpy().astype(np.int64), np.repeat(np.arange(len(cell)), counts)
    _expect((np.diff(where)[np.diff(of_row) == 0] > 0).all(), turned)
    values = probs.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    _expect(_marks(where, cell[of_row], values) == marks, turned)


def _marks(place: NDArray[np.int64], key: NDArray[np.int64], prob: NDArray[np.float32]) -> int:
    """A sum over entries that tells whether two lists hold the same ones, in whatever order."""
    mark = (place.astype(np.uint64) << np.uint64(17)) ^ key.astype(np.uint64)
    for odd in _ODD:
        mark *= odd
        mark ^= mark >> np.uint64(31)
    return int((mark * (prob.view(np.uint32).astype(np.uint64) | np.uint64(1))).sum())


def _check_side(side: Side, kept: NDArray[np.bool_], heads: int, keys: int) -> None:
    counts = np.diff(side.starts)
    _expect(
        ((counts > 0) == kept).all(), "it has routing of documents that are not kept, or lacks that of some that are"
    )
    flat = side.keys.astype(np.int64)
    row = np.repeat(np.arange(len(side)), counts)
    _expect(not len(flat) or flat.max() < heads * keys, "it has keys that the model lacks")
    _expect((np.diff(flat)[np.diff(row) == 0] > 0).all(), "keys do not ascend within a row")
    _expect(((side.probs > 0) & (side.probs <= 1)).all(), "it has probabilities outside 0 … 1")
    sums = np.bincount(row * heads + flat // keys, side.probs, len(side) * heads).reshape(len(side), heads)[kept]
    _expect(np.allclose(sums, 1, atol=2e-3), "probabilities of a token's head do not add up to 1")


def _check_experts(path: Place, manifest: dict[str, Any], group: int, all_kept: bool) -> dict[str, NDArray]:
    """The columns of a group's statistics, with ``histogram`` as (experts, bins)."""
    table = _read(path, group_name("experts", group))
    labels = manifest["labels"]
    names = ["expert", "tokens", "mass", "mean", "max"]
    names += [f"{what}:{label}" for what in ("tokens", "mass") for label in labels]
    _expect(table.column_names == [*names, "histogram"], "its columns are not those of the run's labels")
    _expect(not any(table[name].null_count for name in table.column_names), "some rows have nothing")
    columns = {name: table[name].to_numpy() for name in names}
    counts = table["histogram"].combine_chunks().flatten().to_numpy().reshape(len(table), HISTOGRAM_BINS)
    expert, tokens = columns["expert"], columns["tokens"]
    _expect((np.diff(expert) > 0).all(), "experts do not ascend, each once")
    _expect(
        not len(expert) or (expert[0] >= 0 and expert[-1] < manifest["model"]["keys"] ** 2), "it has unknown experts"
    )
    _expect((tokens > 0).all() and (tokens <= manifest["parts"][-1]["rows"][1]).all(), "it counts impossible tokens")
    _expect((counts.sum(1) == tokens).all(), "histograms do not add up to the active tokens")
    for what in ("tokens", "mass"):
        by_label = np.sum([columns[f"{what}:{label}"] for label in labels], axis=0)
        _expect(np.allclose(by_label, columns[what], rtol=1e-12, atol=0), f"{what} by label do not add up to {what}")
    _expect(np.allclose(columns["mean"], columns["mass"] / tokens, rtol=1e-12, atol=0), "mean is not mass by tokens")
    _expect((columns["mass"] <= columns["max"] * tokens + ROUNDING * tokens).all(), "mean is above max")
    edges = np.array(manifest["histogram"])
    last = HISTOGRAM_BINS - 1 - np.argmax(counts[:, ::-1] > 0, axis=1)
    _expect(((columns["max"] >= edges[last]) & (columns["max"] <= edges[last + 1])).all(), "max is not in the last bin")
    if all_kept:  # at every token and head, all scores add up to 1
        expected = manifest["parts"][-1]["rows"][1] * manifest["model"]["heads"]
        _expect(np.isclose(columns["mass"].sum(), expected, rtol=1e-4), "masses do not add up to tokens times heads")
    return columns | {"histogram": counts}


def _check_examples(
    path: Place,
    manifest: dict[str, Any],
    group: int,
    folder: str,
    schema: pa.Schema,
    experts: dict[str, NDArray],
    token: NDArray[np.int32],
    doc: NDArray[np.int64],
) -> dict[str, NDArray]:
    """The file's columns."""
    columns = {
        name: c.to_numpy() for name, c in zip(schema.names, _read(path, group_name(folder, group), schema), strict=True)
    }
    expert, score, row = (columns[name] for name in ("expert", "score", "row"))
    _expect((np.diff(expert) >= 0).all(), "experts do not ascend")
    _expect(((row >= 0) & (row < len(token))).all(), "it has rows that the run lacks")
    _expect((columns["token"] == token[row]).all(), "tokens are not those of their rows")
    pairs = expert.astype(np.int64) * len(token) + row
    _expect(len(np.unique(pairs)) == len(pairs), "a token is there twice for one expert")
    at = np.searchsorted(experts["expert"], expert).clip(max=len(experts["expert"]) - 1)
    _expect((experts["expert"][at] == expert).all(), "it has experts without statistics")
    edges = np.array(manifest["histogram"])
    place = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, HISTOGRAM_BINS - 1)
    same = np.diff(expert) == 0
    if folder == "intervals":
        _expect((columns["bin"] == place).all(), "scores are not in their bins")
        cell = at * HISTOGRAM_BINS + place
        _expect((np.diff(cell) >= 0).all(), "bins do not ascend within an expert")
        there = np.bincount(cell, minlength=experts["histogram"].size)
        wanted = np.minimum(experts["histogram"].ravel(), INTERVAL_EXAMPLES)
        _expect((there == wanted).all(), "it has not the number of tokens that the histograms ask for")
        return columns
    _expect((np.diff(score)[same] <= 0).all(), "scores do not fall within an expert")
    first = np.flatnonzero(np.diff(expert, prepend=-1))
    _expect(expert[first].tolist() == experts["expert"].tolist(), "experts with statistics have no best token")
    _expect((score[first] == experts["max"]).all(), "an expert's best score is not its max")
    settings = manifest["settings"]
    _expect(np.bincount(at).max() <= settings["examples"], "an expert has too many")
    _, of_document = np.unique(np.stack([at, doc[row]]), axis=1, return_counts=True)
    _expect(of_document.max() <= settings["examples_per_document"], "an expert has too many of one document")
    return columns


def _recount(
    path: Place,
    manifest: dict[str, Any],
    group: int,
    experts: dict[str, NDArray],
    tables: dict[str, dict[str, NDArray]],
    label: NDArray[np.int64],
) -> None:
    """A sample of experts counted again from the routing, whose probabilities are in half precision."""
    heads, keys, labels = manifest["model"]["heads"], manifest["model"]["keys"], manifest["labels"]
    chosen = np.random.default_rng(group).permutation(len(experts["expert"]))[:SAMPLED]
    files = [RowFile(in_ranges(path, index_name(part["part"], group))) for part in manifest["parts"]]
    edges = np.array(manifest["histogram"])
    for at in chosen:
        expert = int(experts["expert"][at])
        i, j = divmod(expert, keys)
        found = [find_expert(file, i, j, heads, keys) for file in files]
        row = np.concatenate([rows + part["rows"][0] for (rows, _), part in zip(found, manifest["parts"], strict=True)])
        score = np.concatenate([scores for _, scores in found]).astype(np.float64)
        tokens = np.bincount(label[row], minlength=len(labels))
        sure = np.bincount(label[row[score > TINY_SCORE]], minlength=len(labels))
        mass = np.bincount(label[row], score, len(labels))
        where = f"expert {expert} has other"
        for folder, table in tables.items():
            span = slice(*np.searchsorted(table["expert"], [expert, expert + 1]))
            at_row = np.searchsorted(row, table["row"][span]).clip(max=len(row) - 1)
            near = np.abs(score[at_row] - table["score"][span]) <= HALF * score[at_row] + TINY_SCORE
            _expect((near & (row[at_row] == table["row"][span])).all(), f"{where} {folder} than the routing")
        counted = np.array([experts[f"tokens:{name}"][at] for name in labels])
        _expect(((counted <= tokens) & (counted >= sure)).all(), f"{where} active tokens than the routing")
        written = np.array([experts[f"mass:{name}"][at] for name in labels])
        slack = HALF * mass + TINY_SCORE * tokens
        _expect((np.abs(written - mass) <= slack).all(), f"{where} mass than the routing")
        _expect(
            abs(experts["max"][at] - score.max()) <= HALF * score.max() + TINY_SCORE, f"{where} max than the routing"
        )
        below = np.cumsum(experts["histogram"][at])[:-1]
        for way, compare in ((1 - HALF, np.greater_equal), (1 + HALF, np.less_equal)):
            moved = edges[1:-1] * way + (TINY_SCORE if way > 1 else -TINY_SCORE)
            least = np.searchsorted(np.sort(score), moved)
            _expect(compare(below, least).all(), f"{where} histogram than the routing")
