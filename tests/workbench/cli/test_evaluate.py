"""`monet evaluate`, `monet mask --measure accuracy` and `monet evaluate-code` print and write what they measure."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from workbench import open_run
from workbench.analysis import label_edit
from workbench.checkpoint import load_model
from workbench.cli import app
from workbench.errors import BadInputError, NotFoundError, UnsupportedError
from workbench.evaluation import read_accuracy_mask

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "monet_model" / "demo"


@pytest.fixture(scope="module")
def run(run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three labels that tests may add to."""
    return shutil.copytree(run_path, tmp_path_factory.mktemp("evaluated") / "run")


@pytest.fixture(scope="module")
def model(run: Path) -> Path:
    return Path(open_run(run).model_path)


def invoke(*arguments: Any) -> str:
    """What a command prints on standard output."""
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.usefixtures("harness")
def test_evaluate_prints_and_writes_the_harness_names(model: Path, toy_tasks: Path, tmp_path: Path) -> None:
    options = ["evaluate", model, "--tasks", "toy_lua,toy_html", "--include", toy_tasks, "--limit", 2]
    found = json.loads(invoke(*options, "--json", "--out", tmp_path / "out.json"))
    assert found == json.loads((tmp_path / "out.json").read_text())
    assert [(row["task"], row["metric"]) for row in found["table"]] == [
        (task, metric) for task in ("toy_lua", "toy_html") for metric in ("acc", "acc_norm")
    ]
    shown = invoke(*options)
    assert "acc_norm" in shown
    assert f"{found['results']['toy_html']['acc,none']:.4f}" in shown


@pytest.mark.usefixtures("harness")
def test_evaluate_without_a_label_is_under_its_edit(
    run: Path, model: Path, toy_tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "workbench.analysis.label_edit",
        lambda run, model, label: label_edit(run, model, label, ratio=1.2, min_tokens=1),
    )
    loaded = load_model(model)
    edit = label_edit(open_run(run), loaded, "lua", ratio=1.2, min_tokens=1)
    edit.save(tmp_path / "lua.safetensors")
    options = ["evaluate", model, "--tasks", "toy_lua", "--include", toy_tasks, "--json"]
    plain, without, edited = (
        json.loads(invoke(*options, *more))
        for more in ([], ["--without", "lua", "--run", run], ["--edit", tmp_path / "lua.safetensors"])
    )
    assert without == edited
    assert without["settings"]["edited_experts"] == len(edit)
    assert plain["settings"]["edited_experts"] == 0


@pytest.mark.usefixtures("harness")
def test_mask_prints_accuracies_by_domain(run: Path, toy_tasks: Path) -> None:
    options = ["mask", run, "--measure", "accuracy", "--ratio", 1.2, "--tasks", "toy_domains", "--include", toy_tasks]
    found = json.loads(invoke(*options, "--limit", 4, "--json"))
    kept = read_accuracy_mask(open_run(run))
    assert kept is not None
    assert found == json.loads(json.dumps(kept.to_json()))
    assert found["domains"] == ["python", "lua", "html"]
    shown = invoke(*options, "--limit", 4)
    assert f"{kept.baseline[0]:.1%}" in shown
    assert f"Delta target {100 * kept.delta_target:+.2f} percentage points" in shown
    assert "Questions: python 4, lua 4, html 4" in shown


def test_options_that_contradict_each_other_are_refused(run: Path, model: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (["mask", run, "--tasks", "toy_lua"], "belong to --measure accuracy"),
        (["mask", run, "--measure", "accuracy"], "name the tasks"),
        (["evaluate", model], "name the tasks"),
        (["evaluate", model, "--tasks", "x", "--edit", "e", "--without", "lua", "--run", run], "not both"),
        (["evaluate", model, "--tasks", "x", "--without", "lua"], "needs --run RUN"),
        (["evaluate", model, "--tasks", "x", "--run", run], "needs --without LABEL"),
        (["evaluate", model, "--tasks", "x", "--edit", tmp_path / "none"], "no expert edit at"),
        (["evaluate", model, "--tasks", "x", "--out", tmp_path], "is a folder"),
    ):
        with pytest.raises(BadInputError, match=message):
            invoke(*arguments)


@pytest.mark.usefixtures("harness")
def test_a_failure_writes_nothing(model: Path, toy_tasks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    with pytest.raises(NotFoundError, match="the data of the task toy_gone"):
        invoke("evaluate", model, "--tasks", "toy_lua,toy_gone", "--include", toy_tasks, "--out", out)
    assert list(tmp_path.iterdir()) == []


def test_without_the_harness_the_command_says_how_to_install_it(
    model: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    for command in (["evaluate", model], ["mask", run, "--measure", "accuracy"]):
        with pytest.raises(UnsupportedError, match=r"LM Evaluation Harness is not installed; run `.*\[eval\]'`"):
            invoke(*command, "--tasks", "hellaswag")


def test_a_model_without_a_tokenizer_is_named() -> None:
    with pytest.raises(UnsupportedError, match="tiny-hd has no tokenizer.json, and tasks are texts"):
        invoke("evaluate", ROOT / "tests" / "golden" / "tiny-hd", "--tasks", "hellaswag")


def test_evaluate_code_executes_only_with_the_flag(model: Path, tmp_path: Path) -> None:
    row = {"task_id": "one", "prompt": "one = 1 #", "test": "def check(one): assert one == 1", "entry_point": "one"}
    (tmp_path / "problems.jsonl").write_text(json.dumps(row))
    options = ["evaluate-code", model, tmp_path / "problems.jsonl", "--samples", 3, "--k", 1, "--max-new-tokens", 1]
    with pytest.raises(BadInputError, match="--execute-generated-code"):
        invoke(*options)
    found = json.loads(invoke(*options, "--execute-generated-code", "--json"))
    assert found["problems"][0]["samples"] == 3
    assert len(found["completions"]) == 3
    shown = invoke(*options, "--execute-generated-code")
    assert "pass@1" in shown
    assert "Of 3 programs: " in shown
