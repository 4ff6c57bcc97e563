"""Checking a group's statistics, best tokens and sampled tokens, each file by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..manifest import MIGRATED_FROM
from ..priority import priority
from ..remote import Place
from ..schema import EXAMPLES, HISTOGRAM_BINS, INTERVAL_EXAMPLES, INTERVALS, expert_schema, group_name
from .problem import expect
from .table import read

ROUNDING = 2.0**-36  # of a score in a mass: masses are whole numbers of it
FLOATS = 1e-15  # sums of whole numbers of it, which are exact up to 2^17
SUMS = 1e-4  # a softmax in float32 adds up to 1 more closely


@dataclass(frozen=True)
class Experts:
    """A group's experts that were active, ascending.

    Attributes:
        expert: (n,) flat ids.
        tokens, mass: (n, labels).
        histogram: (n, bins).
        max: (n,).
    """

    expert: NDArray[np.int32]
    tokens: NDArray[np.int64]
    mass: NDArray[np.float64]
    histogram: NDArray[np.int64]
    max: NDArray[np.float32]

    def places(self, expert: NDArray[np.int32]) -> NDArray[np.int64]:
        """Where some experts stand; raises Wrong where one has no statistics."""
        at = np.searchsorted(self.expert, expert).clip(max=len(self.expert) - 1)
        expect((self.expert[at] == expert).all(), "it has experts without statistics")
        return at


@dataclass(frozen=True)
class Listed:
    """Tokens that are listed for experts, as the file has them.

    Attributes:
        at: (n,) place of each one's expert in ``Experts``.
        bin: (n,) octave of the score.
        score, row, token: (n,).
    """

    at: NDArray[np.int64]
    bin: NDArray[np.int64]
    score: NDArray[np.float32]
    row: NDArray[np.int64]
    token: NDArray[np.int32]


def is_sample_rounded(manifest: dict[str, Any]) -> bool:
    """Whether sampled tokens have scores of the stored half precision: those of runs migrated from schema 1 do."""
    return manifest.get(MIGRATED_FROM) == 1


def check_experts(path: Place, manifest: dict[str, Any], group: int, rows: NDArray[np.int64]) -> Experts:
    """A group's statistics; ``rows`` are the run's tokens by label. Raises Wrong where they contradict themselves."""
    labels, heads = manifest["labels"], manifest["model"]["heads"]
    table = read(path, group_name("experts", group), expert_schema(labels), ascending="expert")
    expect(len(table), "it has no experts")
    expert, tokens, mass, mean, most = (table[name].to_numpy() for name in ("expert", "tokens", "mass", "mean", "max"))
    label_tokens, label_mass = (
        np.stack([table[f"{what}:{label}"].to_numpy() for label in labels], 1) for what in ("tokens", "mass")
    )
    bins = table["histogram"].combine_chunks()
    expect(not bins.flatten().null_count, "histogram has nothing in some bins")
    histogram = bins.flatten().to_numpy().reshape(len(table), HISTOGRAM_BINS)
    expect((np.diff(expert) > 0).all(), "experts are not ascending and unique")
    expect(expert[0] >= 0 and expert[-1] < manifest["model"]["keys"] ** 2, "it has unknown experts")
    expect(
        (tokens > 0).all() and (label_tokens >= 0).all() and (label_tokens <= rows).all(), "it counts impossible tokens"
    )
    expect(
        (histogram >= 0).all() and (histogram.sum(1) == tokens).all(), "histograms do not add up to the active tokens"
    )
    expect((label_tokens.sum(1) == tokens).all(), "tokens by label do not add up to tokens")
    whole = np.column_stack([label_mass, mass]) / ROUNDING
    expect(((whole >= 0) & (whole == np.rint(whole))).all(), "it has masses that are not sums of rounded scores")
    close = np.abs(label_mass.sum(1) - mass) <= FLOATS * mass
    expect(close.all(), "masses by label do not add up to mass")
    expect((mean == mass / tokens).all(), "mean is not mass / tokens")
    slack = ROUNDING * label_tokens
    expect((label_mass <= most[:, None].astype(np.float64) * label_tokens + slack).all(), "mean is above max")
    edges = np.array(manifest["histogram"])
    last = HISTOGRAM_BINS - 1 - np.argmax(histogram[:, ::-1] > 0, axis=1)
    expect(((most > 0) & (most >= edges[last]) & (most <= edges[last + 1])).all(), "max is not in the last bin")
    expect((histogram @ edges[:-1] <= mass + ROUNDING * tokens).all(), "mass is below what the histogram implies")
    expect((mass <= histogram @ edges[1:] + ROUNDING * tokens).all(), "mass is above what the histogram allows")
    # at every token and head, all scores add up to 1
    sums = np.isclose(label_mass.sum(0), rows * heads, rtol=SUMS, atol=0)
    expect(sums.all(), "masses do not add up to tokens times heads")
    return Experts(expert, label_tokens, label_mass, histogram, most)


def check_examples(
    path: Place,
    manifest: dict[str, Any],
    group: int,
    experts: Experts,
    first: NDArray[np.int64],
    copied: NDArray[np.bool_],
) -> Listed:
    """Best tokens; raises Wrong where they contradict themselves.

    ``first`` are the rows that documents begin at, ``copied`` says which of them repeat an earlier one: these are
    counted in statistics and have no listed tokens.
    """
    listed, _ = _read_listed(path, manifest, group_name("examples", group), EXAMPLES, experts)
    at, score, row, settings = listed.at, listed.score, listed.row, manifest["settings"]
    same, step = np.diff(at) == 0, np.diff(score)
    expect((step[same] <= 0).all(), "scores of an expert are not descending")
    expect((np.diff(row)[same & (step == 0)] > 0).all(), "of equal scores, the lower row is not first")
    begins = np.flatnonzero(np.diff(at, prepend=-1))
    if copied.any():
        expect((score[begins] <= experts.max[at[begins]]).all(), "an expert's best score is above its max")
    else:
        expect(len(begins) == len(experts.expert), "experts with statistics have no best token")
        expect((score[begins] == experts.max).all(), "an expert's best score is not its max")
    counts = np.bincount(at)
    expect(counts.max() <= settings["examples"], "an expert has too many")
    cells = np.bincount(at * HISTOGRAM_BINS + listed.bin, minlength=experts.histogram.size)
    expect((cells <= experts.histogram.ravel()).all(), "an expert has more than its histogram counts")
    document = np.searchsorted(first, row, side="right") - 1
    expect(not copied[document].any(), "it has tokens of documents that copy another")
    place, most = np.sort(at * len(first) + document), settings["examples_per_document"]
    expect((place[most:] != place[:-most]).all(), "an expert has too many of one document")
    return listed


def check_intervals(
    path: Place,
    manifest: dict[str, Any],
    group: int,
    experts: Experts,
    first: NDArray[np.int64],
    copied: NDArray[np.bool_],
) -> Listed:
    """Sampled tokens; raises Wrong where they contradict themselves. Arguments are those of ``check_examples``."""

    listed, table = _read_listed(path, manifest, group_name("intervals", group), INTERVALS, experts)
    expect((table["bin"].to_numpy() == listed.bin).all(), "scores are not in their bins")
    cell = listed.at * HISTOGRAM_BINS + listed.bin
    expect((np.diff(cell) >= 0).all(), "bins do not ascend within an expert")
    there = np.bincount(cell, minlength=experts.histogram.size)
    wanted = np.minimum(experts.histogram.ravel(), INTERVAL_EXAMPLES)
    fits = there <= wanted if is_sample_rounded(manifest) or copied.any() else there == wanted
    expect(fits.all(), "it does not have the number of tokens that the histograms imply")
    document = np.searchsorted(first, listed.row, side="right") - 1
    expect(not copied[document].any(), "it has tokens of documents that copy another")
    order = priority(listed.row)
    expect((np.diff(order)[np.diff(cell) == 0] > 0).all(), "tokens of a bin are not in the sample's order")
    return listed


def _read_listed(
    path: Place, manifest: dict[str, Any], name: str, schema: pa.Schema, experts: Experts
) -> tuple[Listed, pa.Table]:
    table, rows = read(path, name, schema, ascending="expert"), manifest["parts"][-1]["rows"][1]
    expert, score, row, token = (table[name].to_numpy() for name in ("expert", "score", "row", "token"))
    expect(((row >= 0) & (row < rows)).all(), "it has rows that the run does not have")
    at = experts.places(expert)
    places = np.sort(at * rows + row)
    expect((np.diff(places) > 0).all(), "a token is listed twice for one expert")
    edges = np.array(manifest["histogram"])
    expect(((score > 0) & (score <= edges[-1])).all(), "it has scores that no token can have")
    bins = np.searchsorted(edges, score, side="right").clip(max=HISTOGRAM_BINS) - 1
    return Listed(at, bins, score, row, token), table
