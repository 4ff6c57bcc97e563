"""`monet fingerprint` from its arguments to files and tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.cli import main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["fingerprint", *arguments])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_a_demo_is_fingerprinted_verified_and_treated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from workbench.demo import DEMO, SAMPLE

    out, secret, corpus = tmp_path / "out", tmp_path / "secret.json", str(DEMO / SAMPLE)
    common = (str(DEMO), corpus, "--out", str(out), "--secret", str(secret), "--count", "12", "--limit", "2")
    assert run("embed", *common, "--epochs", "12", "--mixing", "0") == 0
    printed = capsys.readouterr().out
    assert "12 perinucleus fingerprints" in printed
    assert "Mass of the nucleus left out: quartiles" in printed
    assert "Commitment" in printed
    assert run("embed", *common) == 2
    assert "exists already" in capsys.readouterr().err
    given = ("--fingerprints", str(secret))
    assert run("verify", str(out), *given, "--queries", "10", "--base", str(DEMO), "--json") == 0
    verdict: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert verdict["hits"] == 10
    assert verdict["p"] < 1e-4
    assert verdict["rederived"] == 1
    assert run("verify", str(DEMO), *given) == 0
    assert "no evidence" in capsys.readouterr().out
    assert run("verify", str(DEMO), *given, "--endpoint", "http://127.0.0.1:1/v1") == 2
    assert "give both" in capsys.readouterr().err
    treated = ("persist", str(out), corpus, *given, "--base", str(DEMO), "--limit", "2", "--treatment", "none")
    assert run(*treated, "--json") == 0
    assert json.loads(capsys.readouterr().out)["treatments"][0]["success"] == 1
    assert run(*treated) == 0
    assert "none" in capsys.readouterr().out
