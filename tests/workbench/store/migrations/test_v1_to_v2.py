"""What schema 2 adds to a run of schema 1 is what an export of schema 2 would have written, up to stated rounding."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from workbench.store import Run, migrate_run, open_run
from workbench.store.manifest import describe_file
from workbench.store.priority import priority

SCHEMAS = Path(__file__).parents[1] / "schemas"


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The kept run of schema 1, migrated."""
    run = Path(shutil.copytree(SCHEMAS / "v1", tmp_path_factory.mktemp("v1") / "run"))
    migrate_run(run)
    return open_run(run)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run written in schema 2 of the same model and corpus, brought to the present one."""
    run = Path(shutil.copytree(SCHEMAS / "v2", tmp_path_factory.mktemp("v2") / "run"))
    migrate_run(run)
    return open_run(run)


def test_documents_and_tokens_are_those_of_a_fresh_run(migrated, fresh) -> None:
    pd.testing.assert_frame_equal(migrated.documents, fresh.documents)
    pd.testing.assert_frame_equal(migrated.tokens(), fresh.tokens())
    assert migrated.documents["kept"].all()


def test_statistics_are_those_of_a_fresh_run_up_to_rounding(migrated, fresh) -> None:
    for group in fresh.groups:
        pd.testing.assert_frame_equal(migrated.experts(group), fresh.experts(group), rtol=1e-5)


def test_activations_read_from_the_index_are_those_of_a_fresh_run(migrated, fresh) -> None:
    for expert in range(0, 256, 5):
        pd.testing.assert_frame_equal(migrated.activations(0, expert), fresh.activations(0, expert), rtol=1e-3)


def test_sampled_tokens_are_those_of_a_fresh_run_but_near_edges_of_octaves(migrated, fresh) -> None:
    same = total = 0
    for expert in fresh.experts(0).index:
        one, other = (run.examples_by_score(0, expert) for run in (migrated, fresh))
        assert (one["score"] >= one["low"]).all()
        assert (one["score"] <= one["high"]).all()
        assert (one.groupby("low").size() <= one.groupby("low")["count"].first()).all()
        for _, octave in one.groupby("low"):
            assert (np.diff(priority(octave["row"].to_numpy())) > 0).all()
        pairs = [set(zip(table["low"], table["row"], strict=True)) for table in (one, other)]
        same, total = same + len(pairs[0] & pairs[1]), total + len(pairs[1])
    assert same > 0.98 * total


def downgrade(run: Path, index: bool) -> None:
    """Make a run of schema 2 one of schema 1: without an index too, as the first ones were, unless it is kept."""
    gone = ("intervals",) if index else ("intervals", "index")
    manifest = json.loads((run / "manifest.json").read_text())
    for folder in gone:
        shutil.rmtree(run / folder)
    for files in (manifest["files"], *(part["files"] for part in manifest["parts"])):
        for name in [name for name in files if name.startswith(gone)]:
            del files[name]
    for part in manifest["parts"]:
        (name,) = (name for name in part["files"] if name.startswith("documents"))
        pq.write_table(pq.read_table(run / name).drop_columns(["kept"]), run / name)
        part["files"][name] = describe_file(run / name)
    del manifest["checksum"], manifest["settings"]["keep_routing"]
    (run / "manifest.json").write_text(json.dumps(manifest | {"schema": 1}))


@pytest.mark.parametrize("index", [True, False])
def test_all_but_sampled_tokens_are_the_bytes_of_a_fresh_run(fresh, tmp_path, index) -> None:
    run = Path(shutil.copytree(SCHEMAS / "v2", tmp_path / "run"))
    downgrade(run, index)
    migrate_run(run)
    for file in sorted(fresh.path.rglob("*.parquet")):
        name = file.relative_to(fresh.path)
        if name.parts[0] != "intervals":
            assert (run / name).read_bytes() == file.read_bytes(), name
    old, new = (json.loads((folder / "manifest.json").read_text()) for folder in (fresh.path, run))
    assert (old.pop("migrated_from"), new.pop("migrated_from")) == (2, 1)
    for manifest in (old, new):
        del manifest["checksum"]
        manifest["files"] = {name: f for name, f in manifest["files"].items() if not name.startswith("intervals")}
    assert new == old
