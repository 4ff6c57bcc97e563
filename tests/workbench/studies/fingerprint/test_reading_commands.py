from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from workbench.cli import fingerprint_reading
from workbench.errors import BadInputError, NotFoundError
from workbench.studies import fingerprint
from workbench.studies.fingerprint.erase_result import read_erased
from workbench.studies.fingerprint.neurons import DenseOwned

from .marked import Marked


@pytest.fixture
def call(marked: Marked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls a command with the run, its base and its secret, and more arguments."""
    app = typer.Typer()
    app.command()(fingerprint_reading.locate)
    app.command()(fingerprint_reading.erase)
    secret = tmp_path / "fingerprints.json"
    marked.fingerprints.save(secret)
    monkeypatch.setattr(fingerprint_reading.out_console, "width", 200)

    def run(command: str, *more: str, given: bool = True) -> None:
        known = ["--fingerprints", str(secret)] if given else []
        arguments = [command, str(marked.run.path), "--base", str(marked.base_path), *known, *more]
        app(arguments, standalone_mode=False)

    return run


def test_located_experts_are_printed(call: Any, marked: Marked, capsys: pytest.CaptureFixture[str]) -> None:
    call("locate", "--name", "printed")
    shown = capsys.readouterr().out
    assert "12 fingerprints: the model answers 100.0%" in shown
    assert "of 512" in shown
    call("locate", "--json", "--name", "printed")
    found = json.loads(capsys.readouterr().out)
    assert (found["count"], found["total"]) == (12, 512)
    best = found["experts"][0]
    assert f"{best['group']}:{best['expert']}" in shown
    assert f"{found['elsewhere']:.1%} elsewhere" in shown
    assert found["base"] == str(marked.base_path)
    assert len(found["fingerprints"]) == 12


def test_by_gradient_no_part_is_elsewhere(call: Any, capsys: pytest.CaptureFixture[str]) -> None:
    call("locate", "--method", "gradient", "--name", "printed")
    assert "elsewhere" not in capsys.readouterr().out


def test_removals_are_printed(
    call: Any, marked: Marked, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call("erase", "--draws", "1", "--name", "printed", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["chose"], found["others"], found["total"]) == (6, 6, {"experts": 512})
    assert found["curves"]["experts"][0]["removed"] == 0
    kept = read_erased(marked.run, "printed")
    monkeypatch.setattr(fingerprint, "erase_fingerprints", lambda *_, **__: kept)  # as it was measured
    call("erase", "--draws", "1", "--name", "printed")
    shown = capsys.readouterr().out
    for order in ("located by half of the keys", "random", "equally active", "least used on clean text"):
        assert order in shown
    assert "Success of both without at most 1 % of experts" in shown


def test_neurons_are_removed_on_request(
    call: Any, marked: Marked, owned_dense: DenseOwned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, base, file = owned_dense.model.name_or_path, owned_dense.base.name_or_path, tmp_path / "dense.json"
    with pytest.raises(BadInputError, match="--dense and --dense-base go together"):
        call("erase", "--dense", folder)
    with pytest.raises(BadInputError, match="--dense-fingerprints with them"):
        call("erase", "--dense-fingerprints", str(file))
    owned_dense.fingerprints.save(file)
    given = ("--dense", folder, "--dense-base", base, "--dense-fingerprints", str(file))
    call("erase", *given, "--draws", "1", "--sample", "3", "--name", "neurons")
    shown = capsys.readouterr().out
    assert "Success of both without at most 1 % of experts" in shown
    assert "Success of both without at most 1 % of neurons" in shown
    kept = read_erased(marked.run, "neurons")
    assert kept is not None
    assert kept.dense == {"model": folder, "base": base, "commitment": owned_dense.fingerprints.commitment}


def test_what_is_missing_is_named(call: Any) -> None:
    with pytest.raises(NotFoundError, match=r"fingerprints\.json"):
        call("locate", given=False)
