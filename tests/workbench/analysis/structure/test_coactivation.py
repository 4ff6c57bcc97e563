"""Co-activating experts, counted against dense routing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.analysis import coactive
from workbench.errors import WorkbenchError
from workbench.progress import Report
from workbench.store import Run, open_run


@pytest.fixture
def text_run(text_run_path: Path, tmp_path: Path) -> Run:
    """A run of many short texts."""
    return open_run(shutil.copytree(text_run_path, tmp_path / "run"))


def test_coactive_counts_common_tokens(run: Run) -> None:
    for group in run.groups:
        g1, g2 = run.routing(slice(None), group).dense()
        active = torch.einsum("thi,thj->tij", g1, g2).flatten(1).numpy() > 0
        expert = int(active.sum(0).argmax())
        found = coactive(run, group, expert, run.num_keys**2).set_index("expert")
        both = active[active[:, expert]].sum(0)
        both[expert] = 0
        assert found["together"].to_dict() == {e: both[e] for e in np.flatnonzero(both)}
        own, mine = active.sum(0)[found.index], active[:, expert].sum()
        assert (found["tokens"] == own).all()
        assert found["jaccard"].to_numpy() == pytest.approx(
            [(active[:, e] & active[:, expert]).sum() / (active[:, e] | active[:, expert]).sum() for e in found.index]
        )
        expected = np.log(found["together"] / len(active) / (own / len(active) * mine / len(active)))
        assert found["pmi"].to_numpy() == pytest.approx(expected.to_numpy())
        assert found["jaccard"].is_monotonic_decreasing
        i, j = divmod(expert, run.num_keys)
        wanted = ["row" if e // run.num_keys == i else "column" if e % run.num_keys == j else "" for e in found.index]
        assert found["shared"].tolist() == wanted
        assert set(wanted) == {"row", "column", ""}
        assert coactive(run, group, expert, 3)["expert"].tolist() == found.index[:3].tolist()


def test_coactive_of_an_inactive_expert_is_empty(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkbenchError, match="no expert"):
        coactive(run, 0, run.num_keys**2, 5)
    monkeypatch.setattr(run, "activations", lambda group, expert: pd.DataFrame({"row": np.zeros(0, np.int64)}))
    assert coactive(run, 0, 3, 5).empty


def test_coactive_needs_the_routing_of_all_documents(run: Run) -> None:
    run.__dict__["documents"] = run.documents.assign(kept=run.documents.index > 0)
    with pytest.raises(WorkbenchError, match="keep-routing all"):
        coactive(run, 0, 1, 5)


def busiest(run: Run) -> int:
    return int(run.experts(0)["tokens"].idxmax())


def test_coactive_in_a_sample_of_everything_is_exact(run: Run) -> None:
    whole, drawn = coactive(run, 0, busiest(run), 9), coactive(run, 0, busiest(run), 9, sample=10**6)
    pd.testing.assert_frame_equal(drawn[whole.columns], whole)
    assert drawn["jaccard_low"].to_numpy() == pytest.approx(whole["jaccard"])
    assert drawn["jaccard_high"].to_numpy() == pytest.approx(whole["jaccard"])


def test_coactive_in_a_sample_counts_its_tokens_alone(text_run: Run) -> None:
    expert, few = busiest(text_run), text_run.sample(8, seed=3, by_size=True)
    found = coactive(text_run, 0, expert, 5, sample=8, seed=3)
    pd.testing.assert_frame_equal(found, coactive(few, 0, expert, 5))
    mine, kept = text_run.activations(0, expert), few.documents["kept"].to_numpy()
    rows = mine["row"][kept[mine["doc"]]]
    for other in found.itertuples():
        theirs = text_run.activations(0, other.expert)
        together = theirs["row"].isin(rows).sum()
        common = together / len(rows) * len(mine)
        assert (other.together, other.tokens) == (together, len(theirs))
        assert other.jaccard == pytest.approx(common / (len(mine) + len(theirs) - common))
        assert other.pmi == pytest.approx(np.log(common * text_run.tokens_total / (len(mine) * len(theirs))))


def test_the_interval_of_a_sample_holds_the_index_of_all_documents(text_run: Run) -> None:
    expert, held = busiest(text_run), []
    whole = coactive(text_run, 0, expert, text_run.num_keys**2).set_index("expert")["jaccard"]
    for seed in range(40):
        few = coactive(text_run, 0, expert, 10, sample=25, seed=seed).set_index("expert")
        true = whole[few.index]
        held.append(((few["jaccard_low"] <= true) & (true <= few["jaccard_high"])).mean())
    assert 0.85 <= np.mean(held) <= 1.0  # 95 % asked; the ten best of a sample are chosen among its errors
    assert (few["jaccard_high"] - few["jaccard_low"]).mean() < 0.3


def test_coactive_needs_the_routing_of_a_sample_only(run: Run) -> None:
    run.__dict__["documents"] = run.documents.assign(kept=run.documents.index > 0)
    assert len(coactive(run, 0, busiest(run), 5, sample=3)) == 5


def test_coactive_shows_progress(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MONET_PROGRESS", "json")
    monkeypatch.setattr("workbench.analysis.structure.coactivation.ROUTING_ROWS", 7)
    coactive(run, 0, busiest(run), 5, sample=3, progress=True)
    told = [Report.read(line) for line in capsys.readouterr().err.splitlines()]
    few = run.sample(3, by_size=True).documents["kept"].to_numpy()
    tokens = few[run.activations(0, busiest(run))["doc"]].sum()
    for name in ("coactive", "intervals"):
        last = [report for report in told if report is not None and report.name == name][-1]
        assert (last.done, last.total, last.unit) == (tokens, tokens, "tokens")
    coactive(run, 0, busiest(run), 5)
    assert not capsys.readouterr().err
