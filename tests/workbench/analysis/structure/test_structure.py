"""A structure is stored and read as it was computed."""

from __future__ import annotations

import json

from monet_model import MonetForCausalLM
from workbench.analysis import analyze_structure, read_structure, standing_committee
from workbench.store import Run


def test_a_structure_is_read_as_it_was_written(run: Run, model: MonetForCausalLM) -> None:
    assert read_structure(run) is None
    found = analyze_structure(run, model=model, top=0.2, permutations=10, seed=4)
    again = read_structure(run)
    assert again is not None
    assert again.to_json() == json.loads(json.dumps(found.to_json()))
    assert len(found.lattice) == 2 * len(run.groups)
    assert found.committee["experts"].tolist() == [len(standing_committee(run, group, 0.2)) for group in run.groups]
    assert found.outputs is not None
    for row in found.outputs.itertuples(index=False):
        assert max(row.row, row.column) > row.other
    assert analyze_structure(run, top=0.2, permutations=10, seed=4).outputs is None
