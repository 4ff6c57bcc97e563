"""Replication on halves of the documents: against plain loops, under nulls, and with near copies."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from workbench.analysis import Replication, analyze_run, read_analysis_summary, replication
from workbench.analysis.activations import CrossTable
from workbench.analysis.significance import benjamini_hochberg
from workbench.analysis.specialisation import replication as module
from workbench.analysis.specialisation.label_null import LabelNull
from workbench.analysis.specialisation.replication import Halves
from workbench.analysis.specialisation.replication_result import CONFIRMED, SPECIALISED
from workbench.analysis.units import split_documents
from workbench.errors import BadInputError
from workbench.store import Run
from workbench.store.files import to_json_types, write_json

LABELS = ["a", "b", "c"]
PER_LABEL = 24


def table_of(mass: np.ndarray, tokens: np.ndarray) -> CrossTable:
    """The sparse table of dense (experts, documents) arrays."""
    cells = np.nonzero(tokens)
    return CrossTable(*cells, mass[cells].astype(np.float32), tokens[cells].astype(np.int64))


def activity(seed: int, experts: int, told: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of documents, and active tokens and mass of experts, a part ``told`` of which follow a label."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(3), PER_LABEL)
    own = np.where(rng.random(experts) < told, rng.integers(0, 3, experts), -1)
    rate = np.where(own[:, None] == label, 6.0, 0.8) * rng.choice([0.45, 1.0], (experts, 1))
    tokens = rng.poisson(rate)
    return label, tokens, tokens * rng.uniform(0.4, 0.6, tokens.shape)


def halves_of(label: np.ndarray, units: np.ndarray | None = None, permutations: int = 0, experts: int = 600) -> Halves:
    """Halves of documents of 50 tokens each."""
    units = np.arange(len(label)) if units is None else units
    sizes = np.full(len(label), 50)
    half = split_documents(label, sizes, 3, units, choosing_tokens=1).astype(np.int64)
    settings = {"ratio": 2.0, "min_tokens": 10, "permutations": permutations, "fdr": 0.05, "seed": 4}
    return Halves(label, half, units, sizes, labels=LABELS, skipped=[], experts=experts, **settings)


def test_replication_counts_equal_a_loop_over_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXPERTS_AT_ONCE", 37)
    label, tokens, mass = activity(0, 600, 0.5)
    halves = halves_of(label, permutations=60)
    table = table_of(mass, tokens)
    halves.add(0, table)
    found = halves.counted()
    half = halves._half
    named, active, p = np.full((2, 600), -1), np.zeros((2, 600), int), np.full((2, 600), np.nan)
    for side in (0, 1):
        mine = half == side
        sizes = np.array([50 * (label[mine] == number).sum() for number in range(3)])
        for expert in range(600):
            active[side, expert] = tokens[expert, mine].sum()
            by_label = [mass[expert, mine & (label == number)].astype(np.float32).sum() for number in range(3)]
            second, first = np.sort(rates := by_label / sizes)[-2:]
            if active[side, expert] >= 10 and first >= 2 * second:
                named[side, expert] = rates.argmax()
        null = LabelNull(label[mine], np.full(mine.sum(), 50), 3, 60, 4, ["ratio"])
        tested = np.flatnonzero(active[side] >= 10)
        p[side, tested] = null.p_values(table_of(mass[:, mine], tokens[:, mine]), tested)["ratio"]
    for rule in (SPECIALISED, CONFIRMED):
        expected = {name: np.zeros(3) for name in ("experts", "same", "other", "rare")}
        for here in (0, 1):
            chosen = (named[here] >= 0) & ((benjamini_hochberg(p[here]) <= 0.05) | (rule == SPECIALISED))
            for expert in np.flatnonzero(chosen):
                mine, other = named[here, expert], named[1 - here, expert]
                expected["experts"][mine] += 1
                expected["same"][mine] += other == mine
                expected["other"][mine] += other not in (-1, mine)
                expected["rare"][mine] += active[1 - here, expert] < 10
        counts = found.by_label().loc[rule]
        for name, values in expected.items():
            assert counts.loc[LABELS, name].tolist() == values.tolist(), (rule, name)
        assert counts["experts"].sum() > 100
    overall = found.overall()
    assert overall["share"].to_dict() == {rule: found.share(rule) for rule in (CONFIRMED, SPECIALISED)}
    assert overall.loc[CONFIRMED, "share"] > overall.loc[SPECIALISED, "share"] > 2 * overall["chance_share"].max()
    by_activity = found.by_activity()
    assert by_activity.groupby("rule")["experts"].sum().to_dict() == overall["experts"].to_dict()
    low = by_activity.loc[SPECIALISED].index
    of_bin = np.searchsorted(low, active.sum(0), side="right") - 1
    assert by_activity.loc[SPECIALISED, "experts"].tolist() == [
        int(((named >= 0) & (of_bin == number)).sum()) for number in range(len(low))
    ]
    assert by_activity.loc[SPECIALISED, "tokens"].iloc[0] == "10–19"


def test_replication_where_labels_mean_nothing_is_as_by_chance() -> None:
    """And nothing is confirmed, though the plain rule calls many specialised."""
    label, tokens, mass = activity(1, 3000, 0.0)
    halves = halves_of(label, permutations=100, experts=3000)
    halves.add(0, table_of(mass, tokens))
    found = halves.counted()
    overall = found.overall()
    assert overall.loc[SPECIALISED, "experts"] > 300
    assert overall.loc[SPECIALISED, "share"] == pytest.approx(overall.loc[SPECIALISED, "chance_share"], abs=0.06)
    assert overall.loc[SPECIALISED, "share"] == pytest.approx(overall.loc[SPECIALISED, "shuffled_share"], abs=0.06)
    assert overall.loc[CONFIRMED, "experts"] == 0
    assert np.isnan(found.share(CONFIRMED))


def test_forty_copies_of_a_document_replicate_nothing() -> None:
    """Experts of one text copied forty times have its label on both halves, unless the copies stay together."""
    label = np.r_[np.zeros(40, int), np.repeat([0, 1, 2], 8)]
    tokens = np.zeros((5, len(label)), int)
    tokens[:, :40] = 3
    units = np.r_[np.zeros(40, int), np.arange(40, len(label))]
    shares = []
    for one in (None, units):
        halves = halves_of(label, one, permutations=100, experts=5)
        assert one is None or len(set(halves._half[:40].tolist())) == 1
        halves.add(0, table_of(tokens * 0.5, tokens))
        shares.append(halves.counted().share(SPECIALISED))
        confirmed = halves.counted().overall().loc[CONFIRMED, "experts"]
        assert (confirmed > 0) == (one is None)
    assert shares == [1.0, 0.0]


def test_replication_of_a_run_is_in_its_analysis_and_read_back(run: Run) -> None:
    summary = analyze_run(run, permutations=20, min_tokens=4, fdr=0.4)
    found = replication(run, permutations=20, min_tokens=4, fdr=0.4)
    stored = read_analysis_summary(run)
    assert found is not None
    assert stored is not None
    for other in (summary.replication, stored.replication):
        assert isinstance(other, Replication)
        assert to_json_types(other.to_json()) == to_json_types(found.to_json())
        pd.testing.assert_frame_equal(other.by_label(0), found.by_label(0), check_dtype=False)
    assert found.halves["documents"].sum() == run.documents["kept"].sum()
    assert abs(found.halves["tokens"].diff().iloc[1]) < 0.3 * found.halves["tokens"].sum()
    assert found.overall().loc[SPECIALISED, "experts"] > 0
    assert found.rules == [CONFIRMED, SPECIALISED]


def test_replication_leaves_out_labels_of_one_half_and_needs_two(run: Run) -> None:
    run.documents = run.documents.assign(kept=(run.documents["label"] != "c") | (run.documents["doc"] == 7))
    found = replication(run, permutations=0)
    assert found is not None
    assert found.skipped == ["c"]
    assert set(found.labels["label"]) == {"ada", "lisp"}
    assert found.rules == [SPECIALISED]
    run.documents = run.documents.assign(kept=run.documents["label"] == "ada")
    assert replication(run, permutations=0) is None
    assert analyze_run(run, permutations=0).replication is None
    with pytest.raises(BadInputError, match="min_tokens"):
        replication(run, min_tokens=0)


def test_summaries_of_version_1_are_read_without_a_replication(run: Run) -> None:
    analyze_run(run, permutations=0)
    path = run.analysis_path("experts.json")
    old = json.loads(path.read_text())
    del old["replication"]
    old["result"]["version"] = 1
    write_json(path, old)
    summary = read_analysis_summary(run)
    assert summary is not None
    assert summary.replication is None
