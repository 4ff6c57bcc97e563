"""`monet bench` and `monet convert`."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from workbench.bench import queries
from workbench.cli import app
from workbench.errors import WorkbenchError
from workbench.store import open_run


def run_command(*arguments: object) -> str:
    """Output of a command that succeeds; its own exception where it does not."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def brief(monkeypatch) -> None:
    """A bench that asks less often."""
    for name, few in (("PAGES", 3), ("RANDOM", 3), ("BUSIEST", 1), ("WARM_UP", 1)):
        monkeypatch.setattr(queries, name, few)


def test_bench_prints_its_tables_and_one_document(small_run, brief) -> None:
    result = json.loads(run_command("bench", small_run, "--json"))
    assert set(result) == {"tokens", "groups", "opening", "queries", "memory_after_mb", "disk", "beside"}
    assert result["tokens"] == 240
    shown = run_command("bench", small_run, "--group", 1)
    for expected in ("expert page", "activations", "top experts", "duckdb", "delphi", "routing"):
        assert expected in shown


@pytest.mark.parametrize(
    ("options", "experts"),
    [
        (["--to", "delphi"], None),
        (["--to", "delphi", "--group", 1, "--top", 4], 4),
        (["--to", "neuronpedia", "--expert", 7, "--expert", 9], 2),
    ],
)
def test_convert_writes_the_experts_asked_for(small_run, tmp_path, options, experts) -> None:
    result = json.loads(run_command("convert", small_run, tmp_path / "out", *options, "--json"))
    assert result["experts"] == experts
    assert list(Path(result["folder"]).iterdir())
    assert Path(result["folder"]).is_relative_to(tmp_path / "out")


def test_convert_takes_the_experts_with_the_most_mass(small_run, tmp_path) -> None:
    assert "The experts are in" in run_command("convert", small_run, tmp_path, "--to", "neuronpedia", "--top", 3)
    (batch,) = tmp_path.glob("*/*/features/*.gz")
    found = {json.loads(line)["index"] for line in gzip.decompress(batch.read_bytes()).decode().splitlines()}
    assert found == {str(expert) for expert in open_run(small_run).experts(0)["mass"].nlargest(3).index}


@pytest.mark.parametrize("at_hand", [True, False])
def test_convert_for_neuronpedia_takes_logits_from_the_model_if_it_is_at_hand(small_run, tmp_path, at_hand) -> None:
    shutil.copytree(small_run, tmp_path / "run")
    if not at_hand:
        manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
        manifest["model"]["path"] = str(tmp_path / "gone")
        (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    options = ["convert", str(tmp_path / "run"), str(tmp_path / "out"), "--to", "neuronpedia", "--top", "2", "--json"]
    result = CliRunner().invoke(app, options, catch_exceptions=False)
    said = "Left empty: the next tokens that each expert promotes and suppresses."
    assert (said in result.stderr) != at_hand
    assert ("there is no model folder" in result.stderr) != at_hand
    (batch,) = Path(json.loads(result.stdout)["folder"]).glob("features/*.gz")
    for line in gzip.decompress(batch.read_bytes()).decode().splitlines():
        assert bool(json.loads(line)["pos_str"]) == bool(json.loads(line)["neg_values"]) == at_hand


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--to", "neuronpedia"], "name experts for Neuronpedia"),
        (["--to", "delphi", "--expert", 1, "--top", 2], "--expert or --top, not both"),
        (["--to", "delphi", "--group", 9], "no group 9"),
        (["--to", "neuronpedia", "--expert", 999], "no expert 999"),
        (["--to", "gephi"], "no layout is called .gephi.; choose one of delphi, neuronpedia"),
    ],
)
def test_what_convert_refuses(small_run, tmp_path, options, said) -> None:
    with pytest.raises(WorkbenchError, match=said):
        run_command("convert", small_run, tmp_path / "out", *options)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
