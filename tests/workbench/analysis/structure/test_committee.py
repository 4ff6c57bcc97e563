"""The standing committee of a made-up run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from workbench.analysis import standing_committee
from workbench.analysis.structure.committee import committee_row
from workbench.errors import WorkbenchError


def test_the_committee_sits_for_every_label() -> None:
    """Of four seats a label, one expert has one everywhere; a tie for the last seat seats both."""
    experts = pd.DataFrame(
        {
            "tokens:a": [9, 8, 7, 6, 6, 0, 1],
            "tokens:b": [5, 0, 9, 1, 8, 7, 6],
            "mass": [4.0, 1.0, 2.0, 1.0, 1.0, 1.0, 0.0],
            "mass:a": [2.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0],
            "mass:b": [2.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0],
        },
        index=[0, 2, 3, 5, 8, 9, 11],
    )
    run: Any = SimpleNamespace(experts=lambda group: experts, num_keys=4, labels=["a", "b"])
    assert standing_committee(run, 0, 0.25).tolist() == [3, 8]
    row = committee_row(run, 0, 0.25)
    assert row == {"group": 0, "experts": 2, "chance": 1.0, "mass": 0.3, "least": 0.25, "everywhere": 5}
    with pytest.raises(WorkbenchError, match="top"):
        standing_committee(run, 0, 1.0)
