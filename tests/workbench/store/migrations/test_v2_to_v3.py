"""A run of schema 2 says of itself, once migrated, how it was read: nothing of it is read otherwise than before."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from workbench.store import Run, migrate_run, open_run

OLD = Path(__file__).parents[1] / "schemas" / "v2"


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Path(shutil.copytree(OLD, tmp_path_factory.mktemp("v2") / "run"))
    migrate_run(run)
    return open_run(run)


def test_every_document_is_an_original_without_control_tokens(migrated) -> None:
    assert migrated.documents["original"].tolist() == migrated.documents["doc"].tolist()
    assert migrated.control_tokens.empty
    assert migrated.manifest["corpus"]["copies"] == 0


def test_windows_after_the_first_are_those_without_a_start_of_text_token(migrated) -> None:
    ids = migrated.input_ids(1)
    assert ids[0] == 1
    assert [window.tolist() for window, _ in migrated.windows_of(1)] == [ids[:16].tolist(), ids[16:].tolist()]
    assert migrated.windows_of(1)[1][1].tolist() == list(range(55, 65))


def test_files_of_schema_2_that_did_not_change_keep_their_bytes(migrated) -> None:
    for file in sorted(OLD.rglob("*.parquet")):
        name = file.relative_to(OLD)
        if name.parts[0] != "documents":
            assert (migrated.path / name).read_bytes() == file.read_bytes(), name
