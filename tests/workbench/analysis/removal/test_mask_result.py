"""The stored result of masking: read back, and answered where it is old, foreign or damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from monet_model import MonetForCausalLM
from workbench.analysis import MaskResult, mask_labels, read_mask
from workbench.errors import DamagedError, UnsupportedError
from workbench.store import Run
from workbench.store.files import write_parquet


def test_read_mask_returns_what_mask_labels_kept(run: Run, model: MonetForCausalLM) -> None:
    assert read_mask(run) is None
    found = mask_labels(run, model)
    kept = read_mask(run)
    assert isinstance(kept, MaskResult)
    assert kept.to_json() == found.to_json()
    pd.testing.assert_frame_equal(kept.documents, found.documents)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False)) == found.to_json()
    assert {"labels", "matrix", "removed", "delta_target", "delta_others", "selectivity"} <= set(found.to_json())


def rewrite(run: Run, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change the stored document."""
    path = run.analysis_path("mask.json")
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def test_read_mask_reads_a_file_without_a_version(run: Run, model: MonetForCausalLM) -> None:
    """As it was before results had a header."""
    found = mask_labels(run, model)
    rewrite(run, lambda stored: {key: value for key, value in stored.items() if key != "result"})
    write_parquet(run.analysis_path("mask-documents.parquet"), pa.Table.from_pandas(found.documents))
    kept = read_mask(run)
    assert kept is not None
    assert kept.to_json() == found.to_json()


def test_read_mask_names_the_command_where_an_old_file_lacks_a_control(run: Run, model: MonetForCausalLM) -> None:
    mask_labels(run, model)
    rewrite(run, lambda stored: {k: v for k, v in stored.items() if k != "result" and not k.startswith("equal")})
    with pytest.raises(UnsupportedError, match=f"lacks 'equal'.*run `monet mask {run.path}` again"):
        read_mask(run)


@pytest.mark.parametrize("damage", [lambda text: text[: len(text) // 2], lambda text: "[1, 2]", lambda text: ""])
def test_read_mask_answers_a_damaged_file_in_words(
    run: Run, model: MonetForCausalLM, damage: Callable[[str], str]
) -> None:
    mask_labels(run, model)
    path = run.analysis_path("mask.json")
    path.write_text(damage(path.read_text()))
    with pytest.raises(DamagedError, match=f"run `monet mask {run.path}` again"):
        read_mask(run)


def test_read_mask_refuses_a_curve_and_a_truncated_table(run: Run, model: MonetForCausalLM) -> None:
    mask_labels(run, model)
    rewrite(run, lambda stored: stored | {"result": stored["result"] | {"kind": "curve"}})
    with pytest.raises(DamagedError, match="is not a mask result"):
        read_mask(run)
    rewrite(run, lambda stored: stored | {"result": stored["result"] | {"kind": "mask"}})
    table = run.analysis_path("mask-documents.parquet")
    table.write_bytes(table.read_bytes()[:-40])
    with pytest.raises(DamagedError, match="mask-documents"):
        read_mask(run)


def test_mask_results_of_two_settings_are_kept_side_by_side(run: Run, model: MonetForCausalLM) -> None:
    usual, strict = mask_labels(run, model), mask_labels(run, model, ratio=4.0, name="strict")
    kept, named = read_mask(run), read_mask(run, "strict")
    assert kept is not None
    assert named is not None
    assert kept.to_json() == usual.to_json()
    assert named.to_json() == strict.to_json()
    assert sum(strict.removed) < sum(usual.removed)
    assert (run.path / "analysis" / "strict" / "mask.json").is_file()
    assert read_mask(run, "other") is None


def test_mask_result_without_a_rise_of_the_others_is_valid_json(run: Run, model: MonetForCausalLM) -> None:
    found = mask_labels(run, model, min_tokens=10**6)
    assert np.isnan(found.selectivity)
    assert json.loads(run.analysis_path("mask.json").read_text(), parse_constant=pytest.fail)["selectivity"] is None


def test_mask_result_keeps_equal_as_a_deprecated_name(run: Run, model: MonetForCausalLM) -> None:
    found = mask_labels(run, model)
    with pytest.warns(DeprecationWarning, match="activity_matched"):
        assert found.equal is found.activity_matched
