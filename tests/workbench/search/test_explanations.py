"""Explanations and labels that say what was asked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from workbench import Run, open_run
from workbench.explain.stored import SCHEMA, write_explanations
from workbench.search import explanations, explanations_matching, labels_matching


@pytest.fixture(scope="module")
def run(run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = open_run(shutil.copytree(run_path, tmp_path_factory.mktemp("explained") / "run"))
    blank = {name: np.nan if pa.types.is_floating(SCHEMA.field(name).type) else 0 for name in SCHEMA.names}
    rows = [
        blank | {"expert": at, "kind": "person", "author": "Ada", "text": text, "judge": ""}
        for at, text in enumerate(["ends of blocks", "opening tags"])
    ]
    write_explanations(run, pd.DataFrame(rows))
    return run


class Lengths:
    """An encoder by which every text means its first letter."""

    def encode(self, texts: list[str]) -> np.ndarray:
        return np.array([[text[0] == "e", text[0] == "o"] for text in texts], np.float32)


def test_without_an_encoder_words_decide(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explanations, "_encoder", lambda: None)
    assert explanations_matching(run, "TAGS")["text"].tolist() == ["opening tags"]


def test_with_an_encoder_meaning_orders_the_others(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explanations, "_encoder", Lengths)
    found = explanations_matching(run, "other")
    assert found["text"].tolist() == ["opening tags", "ends of blocks"]
    assert found["similarity"].tolist() == [1, 0]
    assert len(explanations_matching(run, "other", limit=1)) == 1


def test_labels_are_found_by_part_of_their_name(run: Run) -> None:
    assert labels_matching(run, " PYTH ") == ["python"]
    assert labels_matching(run, "zebra") == labels_matching(run, " ") == []
