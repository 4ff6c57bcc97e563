"""The report of an expert holds what its page shows: explanations, related experts, ranges of scores, logit effect."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from workbench import Run, load_model, open_run
from workbench.analysis import read_analysis
from workbench.explain.logit_lens import logit_view
from workbench.explain.stored import SCHEMA, write_explanations
from workbench.report import expert_report
from workbench.report.expert import expert_document
from workbench.report.explained import best_explanations
from workbench.report.files import encode
from workbench.report.label import label_document
from workbench.report.related import key_sharers
from workbench.store.address import Expert

HOSTILE = "fires on <script>window.hacked = 1</script>"
RULE = "Fires at `<b>x</b>` or “`”."
RULE_SHOWN = 'Fires at <code class="quoted">&lt;b&gt;x&lt;/b&gt;</code> or “`”.'


@pytest.fixture(scope="module")
def run(run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in which the strongest expert of group 0 is explained twice."""
    run = open_run(shutil.copytree(run_path, tmp_path_factory.mktemp("expert") / "run"))
    expert = int(run.experts(0)["mass"].idxmax())
    told = [("rule", RULE, 0.75), ("person", HOSTILE, np.nan)]
    rows = [
        {"group": 0, "expert": expert, "kind": kind, "author": "x", "text": text, "balanced_accuracy": held}
        for kind, text, held in told
    ]
    write_explanations(run, pd.DataFrame(rows).reindex(columns=SCHEMA.names).assign(judge=""))
    return run


@pytest.fixture(scope="module")
def strongest(run: Run) -> Expert:
    return Expert(0, int(run.experts(0)["mass"].idxmax()))


def test_explanations_come_with_how_well_they_hold(run: Run, strongest: Expert) -> None:
    document = expert_document(run, strongest)
    said = json.loads(encode(document, "json"))["explanations"]
    assert [(row["kind"], row["text"]) for row in said] == [("person", HOSTILE), ("rule", RULE)]
    assert [row["balanced_accuracy"] for row in said] == [None, 0.75]
    page = encode(document, "html").decode()
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "0.75" in page
    assert RULE_SHOWN in page
    assert "<b>" not in page
    assert best_explanations(run) == {strongest: HOSTILE}


def test_related_experts_agree_with_the_run(run: Run, strongest: Expert) -> None:
    said = json.loads(encode(expert_document(run, strongest), "json"))["related"]
    near = run.neighbours(*strongest, 10)
    assert [row["expert"] for row in said["coactivating"]] == near["expert"].tolist()
    assert [row["similarity"] for row in said["coactivating"]] == pytest.approx(near["similarity"].tolist())
    label = read_analysis(run, 0)["specialised"]
    i, j = divmod(strongest.id, run.num_keys)
    mass = run.experts(0)["mass"]
    for one, key, of in zip(
        said["same_key"], (i, j), (lambda e: e // run.num_keys, lambda e: e % run.num_keys), strict=True
    ):
        sharing = mass[[expert for expert in mass.index if of(expert) == key and expert != strongest.id]]
        assert (one["key"], one["others"]) == (key, len(sharing))
        assert [row["expert"] for row in one["experts"]] == sharing.nlargest(5).index.tolist()
        for row in one["experts"]:
            assert row["specialised"] == label[row["expert"]]
            assert row["top_tokens"][0] == run.examples(0, row["expert"], 1)["token_text"][0]


def test_sharers_are_those_of_most_mass() -> None:
    mass = pd.Series(np.arange(16.0), index=range(16))
    row, column = key_sharers(5, mass, 4)
    assert (row.set, row.key, row.others, row.mass.index.tolist()) == (1, 1, 3, [7, 6, 4])
    assert (column.set, column.key, column.others, column.mass.index.tolist()) == (2, 1, 3, [13, 9, 1])


def test_ranges_are_those_of_the_run(run: Run, strongest: Expert) -> None:
    document = expert_document(run, strongest)
    sample = run.examples_by_score(*strongest)
    shown = [example for part in document.content["ranges"] for example in part["examples"]]
    assert [example["score"] for example in shown] == pytest.approx(sample["score"].tolist())
    for part in document.content["ranges"]:
        assert all(part["low"] <= example["score"] <= part["high"] for example in part["examples"])
    assert encode(document, "html").decode().count("<li>") == len(document.content["examples"]) + len(shown)


def test_logit_effect_is_told_where_it_is_asked_for(run: Run, strongest: Expert, tmp_path: Path) -> None:
    expert_report(run, *strongest, "json", tmp_path / "e.json")
    assert json.loads((tmp_path / "e.json").read_text())["logits"] is None
    for kind in ("html", "json", "parquet"):
        expert_report(run, *strongest, kind, tmp_path / f"e.{kind}", logits=True, device="cpu")
    said = json.loads((tmp_path / "e.json").read_text())["logits"]
    view = logit_view(run, load_model(run.model_path, device="cpu"), *strongest)
    assert [row["token"] for row in said["promoted"]] == view["token_text"][:10].tolist()
    assert [row["token"] for row in said["suppressed"]] == view["token_text"][:9:-1].tolist()
    assert said["suppressed"][0]["logit"] == pytest.approx(view["logit"].min())
    assert json.loads(pq.read_schema(tmp_path / "e.parquet").metadata[b"monet.report"])["logits"] == said
    assert f"{view['logit'][0]:+.3f}" in (tmp_path / "e.html").read_text()


def test_label_report_explains_its_experts(run: Run, strongest: Expert) -> None:
    label = next(label for label in run.labels if (read_analysis(run, 0)["specialised"] == label).any())
    chosen = int(read_analysis(run, 0).query("specialised == @label").index[0])
    rows = [{"group": 0, "expert": chosen, "kind": "person", "author": "x", "text": "said of it"}]
    write_explanations(run, pd.DataFrame(rows).reindex(columns=SCHEMA.names).assign(judge=""))
    document = label_document(run, label)
    table = document.table.set_index(["group", "expert"])["explanation"]
    assert table[0, chosen] == "said of it"
    assert set(table.drop((0, chosen))) <= {"", HOSTILE}
    for row in document.content["experts"]:
        assert row["explanation"] == table[row["group"], row["expert"]]
