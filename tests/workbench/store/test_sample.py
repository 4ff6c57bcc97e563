"""Samples of a run's documents: how many of each label, nested by size, and what stays of all documents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.errors import WorkbenchError
from workbench.store import open_run
from workbench.store.sample import Sample, draw


def documents(**labels: int) -> pd.DataFrame:
    """As many documents of each label, of one to five tokens; every tenth is not kept, every ninth is empty."""
    label = np.repeat(list(labels), list(labels.values()))
    number = np.arange(len(label))
    tokens = np.where(number % 9 == 8, 0, 1 + number % 5)
    return pd.DataFrame({"label": label, "tokens": tokens, "kept": number % 10 != 9})


def test_each_label_gives_as_many_documents_or_all_it_has() -> None:
    table = documents(a=100, b=40, c=3)
    drawn, sample = draw(table, ["a", "b", "c"], 20, 0, False)
    assert table[drawn].groupby("label").size().to_dict() == {"a": 20, "b": 20, "c": 3}
    assert (table[drawn]["kept"] & (table[drawn]["tokens"] > 0)).all()
    can = table[table["kept"] & (table["tokens"] > 0)]
    assert (sample.documents, sample.tokens) == (43, table[drawn]["tokens"].sum())
    assert (sample.of_documents, sample.of_tokens) == (len(can), can["tokens"].sum())


def test_by_size_keeps_the_mix_of_labels() -> None:
    table = documents(a=400, b=100)
    drawn, sample = draw(table, ["a", "b"], 50, 0, True)
    share = table[drawn]["label"].eq("a").mean()
    assert abs(sample.documents - 100) <= 1
    assert share == pytest.approx(0.8, abs=0.01)


def test_a_larger_sample_contains_the_smaller_one_and_a_seed_another() -> None:
    table = documents(a=200, b=200)
    small, large, other = (draw(table, ["a", "b"], n, seed, False)[0] for n, seed in ((10, 3), (30, 3), (10, 4)))
    assert (small <= large).all()
    assert (small != other).any()


def test_every_document_is_drawn_equally_often() -> None:
    table = documents(a=30, b=10)
    times = np.sum([draw(table, ["a", "b"], 5, seed, False)[0] for seed in range(400)], axis=0)
    can = (table["kept"] & (table["tokens"] > 0)).to_numpy()
    assert (times[~can] == 0).all()
    for label in "ab":
        mine = times[can & (table["label"] == label).to_numpy()]
        assert np.abs(mine - 400 * 5 / len(mine)).max() < 5 * np.sqrt(400 * 0.25)


@pytest.mark.parametrize("n", [0, -1, True, 2.5])
def test_sizes_that_are_none_are_refused(n: int) -> None:
    with pytest.raises(WorkbenchError, match="a sample needs at least one document per label"):
        draw(documents(a=5), ["a"], n, 0, False)


def test_a_run_without_routing_has_no_sample() -> None:
    with pytest.raises(WorkbenchError, match="holds the routing of no document"):
        draw(documents(a=5).assign(kept=False), ["a"], 1, 0, False)


def test_the_sampled_run_reads_the_same_files(sound_run: Path) -> None:
    run = open_run(sound_run)
    few = run.sample(2, seed=1)
    assert run.drawn is None
    assert run.documents["kept"].all()
    assert few.documents["kept"].sum() == 4
    assert few.drawn is not None
    assert few.drawn.documents == 4
    assert few.experts(0).equals(run.experts(0))
    assert few.label_tokens.equals(run.label_tokens)
    assert Sample.from_json(few.drawn.to_json()) == few.drawn
    assert str(few.drawn) == "4 of 6 documents (2 per label; seed 1), 160 of 240 tokens"
    left_out = int(few.documents.query("~kept")["row"].iloc[0])
    with pytest.raises(WorkbenchError, match="is not in the sample: 4 of 6 documents"):
        few.routing([left_out])
