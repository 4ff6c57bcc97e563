"""What `monet analyze` keeps: tables and summary, old, foreign, damaged, and side by side."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest

from workbench.analysis import analyze_run, read_analysis, read_analysis_summary
from workbench.errors import DamagedError, NotAnalysedError, NotFoundError, UnsupportedError
from workbench.store import Run
from workbench.store.files import write_parquet


def test_read_analysis_reads_a_file_without_a_version(run: Run) -> None:
    """As it was before results had a header: the monosemanticity was called score."""
    analyze_run(run, permutations=10)
    table = read_analysis(run, 0)
    old = table.rename(columns=lambda name: name.replace("monosemanticity", "score")).reset_index()
    assert {"score", "p:score", "q:score"} <= set(old)
    write_parquet(run.analysis_path("experts-group-0.parquet"), pa.Table.from_pandas(old, preserve_index=False))
    pd.testing.assert_frame_equal(read_analysis(run, 0), table)


def test_read_analysis_answers_missing_truncated_and_foreign_files_in_words(run: Run) -> None:
    with pytest.raises(NotFoundError, match="has no group 9"):
        read_analysis(run, 9)
    with pytest.raises(NotAnalysedError, match="under the name 'strict'; run `monet analyze .* --name strict`"):
        read_analysis(run, 0, "strict")
    analyze_run(run, permutations=0)
    path = run.analysis_path("experts-group-0.parquet")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedError, match=f"run `monet analyze {run.path}` again"):
        read_analysis(run, 0)
    path.write_bytes(whole)
    run.manifest["corpus"]["hash"] = "another"
    with pytest.raises(UnsupportedError, match="was computed from another run"):
        read_analysis(run, 0)
    with pytest.raises(UnsupportedError, match="was computed from another run"):
        read_analysis_summary(run)


@pytest.mark.parametrize("permutations", [0, 10])
def test_read_analysis_summary_returns_what_analyze_run_did(run: Run, permutations: int) -> None:
    assert read_analysis_summary(run) is None
    summary = analyze_run(run, permutations=permutations, ratio=1.5, fdr=0.3)
    found = read_analysis_summary(run)
    assert found is not None
    assert found.to_json() == summary.to_json()
    assert found.settings == summary.settings
    pd.testing.assert_frame_equal(found.specialised, summary.specialised, check_names=False)
    assert (found.confirmed is None) == (permutations == 0)


def test_analyses_of_two_settings_are_kept_side_by_side(run: Run) -> None:
    analyze_run(run, permutations=0)
    usual = read_analysis(run, 0)
    analyze_run(run, ratio=20.0, permutations=0, name="strict")
    pd.testing.assert_frame_equal(read_analysis(run, 0), usual)
    assert (read_analysis(run, 0, "strict")["specialised"] != "").sum() < (usual["specialised"] != "").sum()
    named, unnamed = read_analysis_summary(run, "strict"), read_analysis_summary(run)
    assert named is not None
    assert unnamed is not None
    assert (named.settings.ratio, unnamed.settings.ratio) == (20.0, 2.0)
