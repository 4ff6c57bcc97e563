"""Co-activating experts, counted against dense routing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.analysis import coactive
from workbench.errors import WorkbenchError
from workbench.store import Run


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
