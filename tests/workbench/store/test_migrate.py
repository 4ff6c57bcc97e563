"""Runs of older schemas are migrated in place: whole or not at all, on any filesystem, however often interrupted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest
from typer.testing import CliRunner

from workbench.cli import app
from workbench.errors import DamagedError, UnsupportedError, WorkbenchError
from workbench.store import migrate_run, open_run, verify_run
from workbench.store.migrations import STEPS
from workbench.store.remote import Remote
from workbench.store.schema import SCHEMA_VERSION

SCHEMAS = Path(__file__).parent / "schemas"
OLD = [f"v{version}" for version in STEPS]


class Killed(BaseException):
    """The end of a process."""


def files(run: Path) -> dict[str, bytes]:
    return {p.relative_to(run).as_posix(): p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != ".lock"}


@pytest.fixture(scope="session", params=OLD)
def migrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A kept run of an older schema, and the files of its copy after migration."""
    old = SCHEMAS / request.param
    run = Path(shutil.copytree(old, tmp_path_factory.mktemp("migrated") / "run"))
    migrate_run(run)
    return old, files(run)


def test_every_older_schema_has_a_step_and_a_kept_run() -> None:
    assert sorted(STEPS) == list(range(1, SCHEMA_VERSION))
    for version in range(1, SCHEMA_VERSION + 1):
        assert json.loads((SCHEMAS / f"v{version}" / "manifest.json").read_text())["schema"] == version


@pytest.mark.parametrize("name", OLD)
def test_opening_an_older_run_names_the_command_that_migrates_it(name) -> None:
    with pytest.raises(UnsupportedError, match="monet migrate"):
        open_run(SCHEMAS / name)


def test_opening_a_newer_run_says_to_update_the_workbench(run_copy) -> None:
    manifest = json.loads((run_copy / "manifest.json").read_text())
    (run_copy / "manifest.json").write_text(json.dumps(manifest | {"schema": SCHEMA_VERSION + 1}))
    for use in (open_run, migrate_run):
        with pytest.raises(UnsupportedError, match="update the workbench"):
            use(run_copy)


@pytest.mark.parametrize("name", OLD)
def test_a_migrated_run_is_sound_and_remembers_its_first_schema(name, tmp_path) -> None:
    run = Path(shutil.copytree(SCHEMAS / name, tmp_path / "run"))
    version = migrate_run(run)
    assert name == f"v{version}"
    assert verify_run(run) == []
    assert open_run(run).manifest["migrated_from"] == version
    assert not (run / "migration").exists()


def test_migrating_a_present_run_changes_nothing(run_copy) -> None:
    before = files(run_copy)
    assert migrate_run(run_copy) == SCHEMA_VERSION
    assert files(run_copy) == before


def test_a_migration_killed_at_any_rename_continues_to_the_same_bytes(migrated, tmp_path, monkeypatch) -> None:
    old, expected = migrated
    run = Path(shutil.copytree(old, tmp_path / "run"))
    rename, steps = Path.replace, 0

    def kill_at_third(before: bool) -> Callable[..., Path]:
        left = 3  # each life gets two renames done

        def replace(path: Path, target: Path) -> Path:
            nonlocal left
            left -= 1
            if left == 0 and before:
                raise Killed
            renamed = rename(path, target)
            if left == 0:
                raise Killed
            return renamed

        return replace

    while True:
        monkeypatch.setattr(Path, "replace", kill_at_third(before=steps % 2 == 0))
        try:
            migrate_run(run)
        except Killed:
            steps += 1
        else:
            break
        finally:
            monkeypatch.undo()
        if json.loads((run / "manifest.json").read_text())["schema"] == SCHEMA_VERSION:
            open_run(run)
        else:
            with pytest.raises(UnsupportedError, match="monet migrate"):
                open_run(run)
    assert steps > (5 if old.name == "v1" else 1)  # schema 3 moves few files
    assert files(run) == expected


def test_a_migration_that_died_after_its_last_rename_is_only_cleaned_up(migrated, tmp_path, monkeypatch) -> None:
    old, expected = migrated
    run = Path(shutil.copytree(old, tmp_path / "run"))
    with monkeypatch.context() as patched:
        patched.setattr("workbench.store.migrate.remove_staging", lambda _: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            migrate_run(run)
    open_run(run)
    assert any("migration/" in problem for problem in verify_run(run))
    migrate_run(run)
    assert files(run) == expected


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_a_remote_run_is_migrated_where_it_is(migrated, tmp_path, scheme) -> None:
    old, expected = migrated
    url = f"memory://{uuid4().hex}/run" if scheme == "memory" else f"file://{tmp_path}/run"
    there, root = fsspec.url_to_fs(url)
    for name, content in files(old).items():
        there.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
        there.pipe_file(f"{root}/{name}", content)
    migrate_run(url)
    assert {path[len(root) + 1 :]: there.cat_file(path) for path in there.find(root)} == expected
    assert open_run(url).experts(0)["tokens"].sum() > 0


def test_a_remote_migration_interrupted_while_moving_files_continues(migrated, monkeypatch) -> None:
    old, expected = migrated
    url = f"memory://{uuid4().hex}/run"
    there, root = fsspec.url_to_fs(url)
    for name, content in files(old).items():
        there.pipe_file(f"{root}/{name}", content)
    move, moved = Remote.move, 0

    def dying(remote: Remote, before: str, after: str) -> None:
        nonlocal moved
        moved += 1
        if moved == 2:
            raise Killed
        move(remote, before, after)

    with monkeypatch.context() as patched:
        patched.setattr(Remote, "move", dying)
        with pytest.raises(Killed):
            migrate_run(url)
    with pytest.raises(UnsupportedError, match="monet migrate"):
        open_run(url)
    migrate_run(url)
    assert {path[len(root) + 1 :]: there.cat_file(path) for path in there.find(root)} == expected


def _cut(run: Path) -> None:
    file = run / "tokens" / "part-00001.parquet"
    file.write_bytes(file.read_bytes()[:-1])


def _flip(run: Path) -> None:
    file = run / "routing" / "part-00000-group-0.parquet"
    content = bytearray(file.read_bytes())
    content[99] ^= 1
    file.write_bytes(content)


def _half_written(run: Path) -> None:
    manifest: dict[str, Any] = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"state": "exporting"}))


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (_cut, DamagedError, "tokens/part-00001.parquet has .* Restore it"),
        (_flip, DamagedError, "routing/part-00000-group-0.parquet has changed"),
        (_half_written, UnsupportedError, "export is unfinished"),
    ],
)
def test_a_run_that_cannot_be_migrated_is_left_as_it_is(tmp_path, damage, kind, message) -> None:
    run = Path(shutil.copytree(SCHEMAS / "v1", tmp_path / "run"))
    damage(run)
    before = files(run)
    with pytest.raises(kind, match=message):
        migrate_run(run)
    assert files(run) == before


def test_migrating_no_run_creates_nothing(tmp_path) -> None:
    with pytest.raises(WorkbenchError, match="no run at"):
        migrate_run(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_monet_migrate_prints_both_versions(tmp_path) -> None:
    run = Path(shutil.copytree(SCHEMAS / "v1", tmp_path / "run"))
    result = CliRunner().invoke(app, ["migrate", str(run), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"run": str(run), "from": 1, "to": SCHEMA_VERSION}
    assert "up to date" in CliRunner().invoke(app, ["migrate", str(run)]).stdout
