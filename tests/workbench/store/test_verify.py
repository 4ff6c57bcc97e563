"""Verification finds every file that is missing, cut, changed or left over."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from workbench.errors import WorkbenchError
from workbench.store import open_run, verify_run
from workbench.store.manifest import listed_files


def _parquet(run: Path) -> list[str]:
    return sorted(str(p.relative_to(run)) for p in run.rglob("*.parquet"))


def test_every_parquet_file_is_in_the_manifest(sound_run) -> None:
    assert verify_run(sound_run) == []
    assert _parquet(sound_run) == sorted(listed_files(json.loads((sound_run / "manifest.json").read_text())))


@pytest.mark.parametrize("name", ["short_run", "sampled_run", "windowed_run", "bare_run_path", "run_path"])
def test_sound_runs_of_all_kinds(request, name) -> None:
    assert verify_run(request.getfixturevalue(name)) == []


def test_every_missing_file_is_found(run_copy) -> None:
    for name in _parquet(run_copy):
        content = (run_copy / name).read_bytes()
        (run_copy / name).unlink()
        assert verify_run(run_copy) == [f"{name} is missing."]
        (run_copy / name).write_bytes(content)


@pytest.mark.parametrize("kept", [0, -1])
def test_every_truncated_file_is_found(run_copy, kept) -> None:
    for name in _parquet(run_copy):
        content = (run_copy / name).read_bytes()
        (run_copy / name).write_bytes(content[:kept])
        (problem,) = verify_run(run_copy)
        assert name in problem
        assert f"{len(content):,} were written" in problem
        (run_copy / name).write_bytes(content)


def test_every_flipped_bit_is_found(run_copy) -> None:
    for number, name in enumerate(_parquet(run_copy)):
        content = bytearray((run_copy / name).read_bytes())
        at = 7919 * (number + 1) % (8 * len(content))
        content[at // 8] ^= 1 << at % 8
        (run_copy / name).write_bytes(content)
        assert verify_run(run_copy) == [f"{name} has changed since it was written: its checksum differs."]
        content[at // 8] ^= 1 << at % 8
        (run_copy / name).write_bytes(content)


def test_verify_finds_leftovers(run_copy) -> None:
    (run_copy / "tokens" / "part-00002.parquet.tmp").write_bytes(b"half")
    assert verify_run(run_copy) == ["tokens/part-00002.parquet.tmp was left by an interrupted export."]


def test_verify_names_a_missing_run(tmp_path) -> None:
    for said, path in (("no run at", tmp_path / "nowhere"), ("is not a run", tmp_path)):
        (problem,) = verify_run(path)
        assert said in problem
        with pytest.raises(WorkbenchError, match=said):
            open_run(path)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"schema": 99}', "{}", "\udcff"])
def test_damaged_or_foreign_manifest(run_copy, content) -> None:
    (run_copy / "manifest.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    (problem,) = verify_run(run_copy)
    assert str(run_copy) in problem
    with pytest.raises(WorkbenchError, match="damaged|schema version"):
        open_run(run_copy)


def test_manifest_cut_at_any_place_is_not_a_run(run_copy) -> None:
    content = (run_copy / "manifest.json").read_bytes()
    for kept in range(0, len(content) - 2, 97):
        (run_copy / "manifest.json").write_bytes(content[:kept])
        assert len(verify_run(run_copy)) == 1


def _replace_by_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _replace_by_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _replace_by_a_link(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


@pytest.mark.parametrize("replace", [_replace_by_a_folder, _replace_by_a_pipe, _replace_by_a_link])
def test_what_is_no_file_is_missing(run_copy, replace) -> None:
    replace(run_copy / "tokens" / "part-00000.parquet")
    assert verify_run(run_copy) == ["tokens/part-00000.parquet is missing."]


def test_a_file_that_cannot_be_read(run_copy, monkeypatch) -> None:
    def refuse(file: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(Path, "open", refuse)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", lambda file, **_: Path(file).read_bytes().decode())
        patched.setattr(Path, "read_bytes", lambda file: open(file, "rb").read())  # noqa: SIM115, PTH123
        problems = verify_run(run_copy)
    assert problems
    assert all("cannot be read: [Errno 13] Permission denied" in problem for problem in problems)


@pytest.mark.parametrize(
    "name",
    ["routing/part-00009-group-0.parquet", "tokens/note.txt", "state/part-00000-group-0.npz", "tokenizer/extra.json"],
)
def test_a_file_too_many(run_copy, name) -> None:
    (run_copy / name).parent.mkdir(exist_ok=True)
    (run_copy / name).write_bytes(b"")
    assert verify_run(run_copy) == [f"{name} does not belong to this run."]


def test_a_file_too_many_whose_name_would_break_the_screen(run_copy) -> None:
    (run_copy / "tokens" / "\x1b[2J\udcff").write_bytes(b"")
    assert verify_run(run_copy) == [r"'tokens/\x1b[2J\udcff' does not belong to this run."]


def test_what_people_keep_beside_a_run_is_left_alone(run_copy) -> None:
    for name in ("analysis/map.json", "notes/today.md", "report.html"):
        (run_copy / name).parent.mkdir(exist_ok=True)
        (run_copy / name).write_bytes(b"")
    assert verify_run(run_copy) == []
