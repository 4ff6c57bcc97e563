"""`monet explain` and `monet search`, as a person types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from workbench import open_run
from workbench.analysis import analyze_run
from workbench.cli import app
from workbench.errors import BadInputError, WorkbenchError
from workbench.explain import read_explanations, readable_experts


def invoke(*arguments: object) -> str:
    """Standard output of a command that succeeds."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def run(text_run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = shutil.copytree(text_run_path, tmp_path_factory.mktemp("cli") / "run")
    analyze_run(open_run(path), permutations=0)
    return path


def test_explain_scores_and_search_finds(run: Path) -> None:
    found = json.loads(invoke("explain", run, "--top", 4, "--json"))
    assert len(found["explanations"]) == 4
    assert found["explanations"][0]["text"].startswith("Fires at “")
    assert "more likely next" in found["explanations"][0]["text"]
    assert found["explanations"][0]["judge"] == "all-MiniLM-L6-v2"
    hits = json.loads(invoke("search", run, "fires at", "--json"))
    assert [hit["contains"] for hit in hits] == [True] * 4
    assert "Fires at" in invoke("search", run, "Fires", "--top", 1)


def test_explain_prints_scores_and_sentence_whole(run: Path) -> None:
    opened = open_run(run)
    expert = int((opened.experts(0)["tokens"] - opened.tokens_total / 12).abs().idxmin())
    shown = invoke("explain", run, "--expert", f"0:{expert}")
    row = read_explanations(opened, 0, expert).iloc[0]
    assert row["detection"] > 0
    assert f"0:{expert}  detection {row['detection']:.2f} (control –)  fuzzing {row['fuzzing']:.2f}" in shown
    assert f"{row['active']} active + {row['negatives']} negative passages\n" in shown
    assert f"  {row['text']}\n" in shown


def test_explain_keeps_a_person_s_words(run: Path) -> None:
    shown = invoke("explain", run, "--expert", "1:0,3", "--write", "Ends [b]words[/b]", "--author", "Ada", "--no-score")
    assert "[b]words[/b]" in shown
    (hit,) = [hit for hit in json.loads(invoke("search", run, "ends [b]", "--json")) if hit["contains"]]
    assert (hit["group"], hit["expert"], hit["kind"], hit["author"]) == (1, 3, "person", "Ada")


def test_explain_by_an_endpoint_that_judges_too(run: Path, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees the key, and is the author and the judge; it says yes to everything, so it is right half of the time."""

    def answer(body: Any) -> str:
        asked = json.loads(body["messages"][1]["content"])
        return str([1] * len(asked["passages"])) if "explanation" in asked else "It likes [red]tags."

    server.answer = answer
    monkeypatch.setenv("MONET_ENDPOINT_KEY", "secret")
    endpoint = ("--endpoint", server.url, "--endpoint-model", "small")
    (row,) = json.loads(invoke("explain", run, "--sample", 1, *endpoint, "--json"))["explanations"]
    assert (row["kind"], row["author"], row["judge"], row["text"]) == (
        "endpoint",
        "small",
        "small",
        "It likes [red]tags.",
    )
    assert row["detection"] in (0.5, None)  # None where the expert has too few passages
    assert {headers["Authorization"] for _, headers, _ in server.seen} == {"Bearer secret"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say which experts"),
        (["--top", "2", "--sample", "2"], "say which experts"),
        (["--expert", "7:1"], "there is no group 7"),
        (["--expert", "0:1", "--endpoint", "http://127.0.0.1:9"], "--endpoint and --endpoint-model go together"),
        (["--expert", "0:1", "--endpoint", "nowhere", "--endpoint-model", "m"], "begins with http"),
        (["--expert", "0:1", "--write", "x"], "--author who wrote it"),
        (["--expert", "0:1", "--write", " ", "--author", "Ada"], "--write takes a text"),
        (["--sample", "2", "--write", "x", "--author", "Ada"], "--write explains one expert"),
        (["--expert", "0:1", "--self"], "the model reads at most 64"),
        (["--expert", "0:1", "--self", "--write", "x", "--author", "Ada"], "at most one of"),
    ],
)
def test_explain_refuses_what_makes_no_sense(run: Path, arguments: list[str], message: str) -> None:
    before = run.stat().st_mtime, sorted(path.name for path in (run / "analysis").iterdir())
    with pytest.raises(WorkbenchError, match=message):
        CliRunner().invoke(app, ["explain", str(run), *arguments, "--no-score"], catch_exceptions=False)
    assert (run.stat().st_mtime, sorted(path.name for path in (run / "analysis").iterdir())) == before


def test_explain_by_rules_needs_no_model_and_by_default_takes_all_readable_experts(run: Path) -> None:
    opened = open_run(run)
    expert = int((opened.experts(0)["tokens"] - opened.tokens_total / 30).abs().idxmin())
    shown = invoke("explain", run, "--rules", "--expert", f"0:{expert}")
    row = read_explanations(opened, 0, expert).set_index("kind").loc["rule"]
    assert f"0:{expert}  average precision {row['average_precision']:.2f} (token alone " in shown
    assert row["text"] in shown
    assert f"  balanced_accuracy {row['balanced_accuracy']:.3f} (95 % CI " in shown


def test_rules_are_by_default_those_of_all_readable_experts(run: Path, tmp_path: Path) -> None:
    own = shutil.copytree(run, tmp_path / "run")
    with pytest.raises(WorkbenchError, match="without the permutation test"):
        invoke("explain", own, "--rules")
    opened = open_run(own)
    analyze_run(opened, permutations=300)
    expected = set(readable_experts(opened))
    assert expected
    everything = json.loads(invoke("explain", own, "--rules", "--json"))
    assert {(one["group"], one["expert"]) for one in everything["explanations"]} == expected
    assert "rules measured; context matters for" in invoke("explain", own, "--rules")


def test_explain_refuses_rules_beside_another_explainer(run: Path) -> None:
    with pytest.raises(BadInputError, match="at most one of --rules, --self"):
        invoke("explain", run, "--rules", "--self", "--top", 1)
