"""The second demo that ships: text licensed file by file, weights that are small and of the teacher that is fetched."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from workbench.demo import DEMO, NOTICE, SAMPLE, beginning, notice
from workbench.errors import NotFoundError
from workbench.store.transcoded import FIGURES, Transcoded
from workbench.transcode import demo
from workbench.transcode.demo import EXPERTS, LABELS, OF_WEIGHTS, RULES, SHIPPED, SUMMED, SUMS, keep_rules, main


def test_every_file_of_the_sample_is_named_with_its_licence() -> None:
    rows = pq.read_table(SHIPPED / SAMPLE).to_pylist()
    assert {row["label"] for row in rows} == set(LABELS)
    assert all(row["text"] and row["source"] and row["licence"] for row in rows)
    told = (SHIPPED / NOTICE).read_text()
    assert told == notice(Dataset.from_list(rows), OF_WEIGHTS)
    assert "Apache License 2.0" in told.splitlines()[0]
    assert (SHIPPED / SAMPLE).stat().st_size < 400_000


def test_shipped_experts_are_small_and_measured_as_shipped() -> None:
    assert (SHIPPED / EXPERTS).stat().st_size < 20e6
    figures = json.loads((SHIPPED / FIGURES).read_text())
    assert figures["weights"] == "float16"
    assert figures["teacher"] == demo.TEACHER
    config = json.loads((SHIPPED / "config.json").read_text())
    dense = set(range(config["num_hidden_layers"])) - set(figures["settings"]["layers"])
    assert set(config["dense_layers"]) == dense
    told = Transcoded.of_folder(SHIPPED)
    assert told is not None
    assert told.rise == figures["rise"]


def test_shipped_rules_belong_to_the_shipped_experts_and_sample() -> None:
    lines = dict(reversed(line.split()) for line in (SHIPPED / SUMS).read_text().splitlines())
    assert set(lines) == set(SUMMED)
    for name, told in lines.items():
        assert sha256((SHIPPED / name).read_bytes()).hexdigest() == told, f"{name} has changed: make the rules again"
    assert set(pq.read_table(SHIPPED / RULES, columns=["kind"])["kind"].to_pylist()) == {"rule"}


def test_a_beginning_is_of_as_many_tokens_as_asked_for() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(DEMO)
    text = "".join(f"local x{n} = {n}\n" for n in range(200))
    found = beginning(text, tokenizer, 40)
    assert text.startswith(found)
    assert found.endswith("\n")
    assert 30 < len(tokenizer(found)["input_ids"]) <= 40


def test_rules_are_kept_with_the_sums_of_what_they_belong_to(tmp_path: Path) -> None:
    shipped, run = tmp_path / "shipped", tmp_path / "run"
    shipped.mkdir()
    for name in SUMMED:
        (shipped / name).write_text(name)
    with pytest.raises(NotFoundError, match="make it with `monet explain"):
        keep_rules(run, shipped)
    (run / "analysis").mkdir(parents=True)
    pd.DataFrame({"kind": ["rule"]}).to_parquet(run / "analysis" / RULES)
    assert keep_rules(run, shipped).read_bytes() == (run / "analysis" / RULES).read_bytes()
    sums = [line.split() for line in (shipped / SUMS).read_text().splitlines()]
    assert sums == [[sha256(name.encode()).hexdigest(), name] for name in SUMMED]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pack", "{folder}/none", "{folder}", "{folder}"], "there is no {folder}/none/transcode.json"),
        (["build", "{folder}", "{folder}"], "{folder} exists already"),
        (["teacher", "{folder}"], "{folder} exists already"),
        (["rules", "{folder}"], "there is no {folder}/analysis/explanations.parquet"),
        (["sample", "{folder}/none", "{folder}"], "{folder}/none"),
    ],
)
def test_a_step_that_cannot_be_done_says_why(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(folder=tmp_path) for word in words]) == 2
    assert said.format(folder=tmp_path) in capsys.readouterr().err


def test_the_corpus_is_code9_without_its_other_languages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": f"{label} {n}", "label": label} for label in (*LABELS, "german") for n in range(2)]
    for split in ("train", "heldout"):
        (tmp_path / "code9" / split).mkdir(parents=True)
        Dataset.from_list(rows).to_parquet(tmp_path / "code9" / split / "part-00000.parquet")
    (tmp_path / "code9" / "corpus.json").write_text("{}")
    out = tmp_path / "some" / "corpus"
    assert main(["corpus", str(tmp_path / "code9"), str(out)]) == 0
    for split in ("train", "heldout"):
        found = pq.read_table(out / split / "part-00000.parquet").to_pylist()
        assert found == [row for row in rows if row["label"] != "german"]
    assert main(["corpus", str(tmp_path / "code9"), str(out)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in out.parent.iterdir()] == ["corpus"]
