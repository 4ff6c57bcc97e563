"""The `monet` command, as a person types it: every command on a golden model, its JSON, and what bad input says."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from typer.testing import CliRunner

from workbench import cli, open_run
from workbench.cli import app
from workbench.errors import WorkbenchError

GOLDEN = Path(__file__).parents[2] / "golden" / "tiny-vd"
LABELS = ("even", "odd", "both")


def invoke(*arguments: object) -> str:
    """Standard output of a command that succeeds."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve documents of token ids, each label with tokens of its own."""
    rng = np.random.default_rng(0)
    rows = [
        {"input_ids": (rng.integers(0, 40, 50) * (1 if n == 2 else 2) + n % 2 + 3).tolist(), "label": label}
        for _ in range(4)
        for n, label in enumerate(LABELS)
    ]
    path = tmp_path_factory.mktemp("corpus") / "ids.parquet"
    Dataset.from_list(rows).to_parquet(path)
    return path


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that `monet export` and `monet analyze` made."""
    path = tmp_path_factory.mktemp("run") / "run"
    assert "The run is in" in invoke("export", GOLDEN, corpus, path)
    invoke("analyze", path)
    return path


def test_help_names_every_command() -> None:
    shown = invoke("--help")
    for name in ("corpus", "train", "export", "verify", "analyze", "mask", "attribute", "report", "serve"):
        assert f"  {name} " in shown


def test_verify_says_sound_and_finds_damage(run: Path, tmp_path: Path) -> None:
    assert json.loads(invoke("verify", run, "--json")) == {"run": str(run), "sound": True, "problems": []}
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    part = next((copy / "tokens").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    done = CliRunner().invoke(app, ["verify", str(copy), "--json"])
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert not found["sound"]
    assert part.name in found["problems"][0]


def test_analyze_counts_specialised_experts(run: Path) -> None:
    found = json.loads(invoke("analyze", run, "--json", "--ratio", "3"))
    assert found["ratio"] == 3
    assert found["labels"] == open_run(run).labels
    table = invoke("analyze", run)
    found = json.loads(invoke("analyze", run, "--json"))
    last = table.split("All groups")[1].split("Replicates")[0]
    rows = {line.split()[1]: line.split("│")[2:6] for line in last.splitlines() if line.startswith("│")}
    overall = found["replication"]["overall"]
    for label in LABELS:
        confirmed, _, specialised, _ = rows[label]
        assert confirmed.strip() == f"{found['confirmed'][label]:,}"
        assert specialised.strip() == f"{found['specialised'][label]:,}"
    shares = [overall[rule]["share"] for rule in ("confirmed", "specialised")]
    assert [rows["all"][at].strip() for at in (1, 3)] == ["–" if one is None else f"{one:.0%}" for one in shares]
    assert table.index("Group 0") < table.index("All groups")


def test_analyze_without_tests_says_so(run: Path) -> None:
    table = invoke("analyze", run, "--permutations", "0", "--name", "quick")
    assert "not tested" in table
    assert "plain 2x rule" in " ".join(table.split())


def test_mask_prints_the_documented_document(run: Path) -> None:
    found: dict[str, Any] = json.loads(invoke("mask", run, "--json"))
    labels, matrix = found["labels"], np.array(found["matrix"])
    assert labels == open_run(run).labels
    assert matrix.shape == (3, 3)
    own = np.eye(3, dtype=bool)
    assert found["delta_target"] == pytest.approx(matrix[own].mean())
    assert found["delta_others"] == pytest.approx(matrix[~own].mean())
    assert len(found["removed"]) == 3
    one = json.loads(invoke("mask", run, "--json", "--label", labels[1]))
    assert np.allclose(one["matrix"], matrix[1:2])
    assert "Delta target" in invoke("mask", run)


@pytest.mark.parametrize("kind", ["html", "json", "csv", "parquet"])
def test_report_of_an_expert_and_a_label(run: Path, tmp_path: Path, kind: str) -> None:
    opened = open_run(run)
    expert = int(opened.experts(1)["mass"].idxmax())
    invoke("report", run, "--expert", f"1:{expert}", "--format", kind, "--out", tmp_path / f"e.{kind}")
    invoke("report", run, "--label", opened.labels[0], "--format", kind, "--out", tmp_path / f"l.{kind}")
    assert (tmp_path / f"e.{kind}").stat().st_size > 0
    if kind == "json":
        logits = tmp_path / "logits.json"
        invoke("report", run, "--expert", f"1:{expert}", "--logits", "--format", kind, "--out", logits)
        assert len(json.loads(logits.read_text())["logits"]["promoted"]) == 10
        assert json.loads((tmp_path / "e.json").read_text())["logits"] is None
    assert (tmp_path / f"l.{kind}").stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "{tmp}/nowhere", "{corpus}", "{tmp}/run"], "there is no model folder"),
        (["export", "{golden}", "{tmp}/nowhere.parquet", "{tmp}/run"], "there is no corpus"),
        (["export", "{golden}", "{corpus}", "{run}"], "already holds a complete run"),
        (["analyze", "{tmp}/nowhere"], "nowhere"),
        (["mask", "{run}", "--label", "cobol"], "has no label 'cobol'"),
        (["report", "{run}", "--out", "{tmp}/x.html"], "exactly one of"),
        (["report", "{run}", "--expert", "9:1", "--out", "{tmp}/x.html"], "there is no group 9"),
        (["report", "{run}", "--expert", "0:1", "--label", "odd", "--out", "{tmp}/x.html"], "exactly one of"),
        (["report", "{run}", "--label", "odd", "--logits", "--out", "{tmp}/x.html"], "--logits belongs to --expert"),
        (["attribute", "{golden}", "--text", "x"], "has no tokenizer"),
        (["serve", "{tmp}/nowhere"], "nowhere"),
        (["corpus", "build", "code8", "{tmp}/c"], "no corpus is called 'code8'"),
        (["train", "{tmp}/none.json", "--corpus", "{tmp}", "--out", "{tmp}/t"], "there is no training configuration"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(
    run: Path, corpus: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    places = {"tmp": tmp_path, "corpus": corpus, "golden": GOLDEN, "run": run}
    with pytest.raises(WorkbenchError, match=said):
        CliRunner().invoke(app, [a.format(**places) for a in arguments], catch_exceptions=False)
    assert list(tmp_path.iterdir()) == []


def test_the_process_prints_the_message_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from workbench.cli import main; main()", "analyze", str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_disk_that_takes_nothing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def full(arguments: list[str] | None) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "scores.parquet"))

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    said = " ".join(capsys.readouterr().err.split())
    assert "cannot be written or read: No space left on device." in said
    assert "scores.parquet" in said


def test_other_errors_of_the_system_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(arguments: list[str] | None) -> None:
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(ConnectionResetError):
        cli.main()
