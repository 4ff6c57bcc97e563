"""Reports hold what the run holds, in every format, and nothing that a browser would load or run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench import Run, open_run
from workbench.analysis import analyze_run, read_analysis, read_mask
from workbench.analysis.attribution.prompt import Prompt
from workbench.analysis.run_model import context_length, run_tokenizer
from workbench.errors import WorkbenchError
from workbench.report import KINDS, expert_report, label_report, text_report
from workbench.report.render import _environment
from workbench.report.text import text_document

TEXT = "print(1)\n<script>window.hacked = 1</script>"


class _Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses |= {str(value) for name, value in attrs if name in ("href", "xlink:href")}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="session")
def run(run_path: Path) -> Run:
    return open_run(run_path)


@pytest.fixture
def strongest(run: Run) -> int:
    return int(run.experts(0)["mass"].idxmax())


def _json(path: Path) -> dict:  # type: ignore[type-arg]
    return json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_expert_report_agrees_with_the_run(run: Run, strongest: int, tmp_path: Path) -> None:
    expert_report(run, 0, strongest, "json", tmp_path / "e.json")
    said, row = _json(tmp_path / "e.json"), run.experts(0).loc[strongest]
    assert said["expert"]["rank_by_mass"] == 1
    assert (said["expert"]["i"], said["expert"]["j"]) == divmod(strongest, run.num_keys)
    assert said["expert"]["tokens"] == row["tokens"] == sum(bin["count"] for bin in said["histogram"])
    assert said["expert"]["specialised"] == read_analysis(run, 0).loc[strongest, "specialised"]
    kept = run.examples(0, strongest, len(said["examples"]))
    assert [example["score"] for example in said["examples"]] == pytest.approx(kept["score"].tolist())
    for example, token in zip(said["examples"], kept["token_text"], strict=True):
        assert example["texts"][example["at"]] == token
        assert example["scores"][example["at"]] == pytest.approx(example["score"], rel=2e-3)  # half precision


def test_label_shares_are_mean_scores_a_token(run: Run, strongest: int, tmp_path: Path) -> None:
    expert_report(run, 0, strongest, "json", tmp_path / "e.json")
    active = run.activations(0, strongest).astype({"label": str})
    rate = active.groupby("label")["score"].sum().reindex(run.labels, fill_value=0.0) / run.label_tokens
    expected = (rate / rate.sum()).sort_values(ascending=False)
    said = pd.DataFrame(_json(tmp_path / "e.json")["labels"]).set_index("label")["share"]
    assert said.index[0] == expected.index[0]
    assert said.to_dict() == pytest.approx(expected.to_dict(), rel=1e-2)  # activations are kept in half precision


def test_table_formats_hold_a_row_an_example(run: Run, strongest: int, tmp_path: Path) -> None:
    for kind in KINDS:
        expert_report(run, 0, strongest, kind, tmp_path / f"e.{kind}")
    said = _json(tmp_path / "e.json")
    csv, parquet = pd.read_csv(tmp_path / "e.csv", keep_default_na=False), pd.read_parquet(tmp_path / "e.parquet")
    assert csv["score"].tolist() == pytest.approx([example["score"] for example in said["examples"]])
    assert parquet["token"].tolist() == csv["token"].tolist()
    first = said["examples"][0]
    assert parquet.loc[0, "before"] + parquet.loc[0, "token"] + parquet.loc[0, "after"] == "".join(first["texts"])
    metadata = json.loads(pq.read_schema(tmp_path / "e.parquet").metadata[b"monet.report"])
    assert metadata["labels"] == said["labels"]


def _reports(run: Run, expert: int, kind: str, folder: Path) -> list[Path]:
    paths = [folder / f"{name}.{kind}" for name in ("expert", "label", "text")]
    expert_report(run, 0, expert, kind, paths[0])
    label_report(run, "lua", kind, paths[1])
    text_report(run, TEXT, kind, paths[2])
    return paths


def test_pages_load_and_run_nothing(run: Run, strongest: int, tmp_path: Path) -> None:
    for path in _reports(run, strongest, "html", tmp_path):
        page = _Page(path.read_text())
        assert not page.tags & {"script", "img", "link", "iframe", "object", "b"}, path
        assert not page.attributes & {"src", "onerror", "onclick"}, path
        assert all(address.startswith("#") for address in page.addresses), path
        assert not any(loads in path.read_text() for loads in ("url(", "@import")), path
        for known in (*run.manifest["model"]["hash"].values(), run.manifest["corpus"]["hash"]):
            assert known in page.text, path
    assert "<script>window.hacked·=·1</script>" in "".join(page.text.split())  # of the last one, the text's


def test_hostile_corpus_text_is_shown_as_it_stands(run: Run, tmp_path: Path) -> None:
    shown = ""
    for expert in run.experts(0)["mass"].nlargest(10).index:
        expert_report(run, 0, int(expert), "html", tmp_path / "e.html")
        shown += _Page((tmp_path / "e.html").read_text()).text
    assert "<script>" in shown or "onerror=" in shown


def test_label_report_lists_every_specialised_expert(run: Run, tmp_path: Path) -> None:
    label_report(run, "lua", "json", tmp_path / "l.json")
    label_report(run, "lua", "parquet", tmp_path / "l.parquet")
    said, table = _json(tmp_path / "l.json"), pd.read_parquet(tmp_path / "l.parquet")
    for group in run.groups:
        derived = read_analysis(run, group)
        expected = set(derived.index[derived["specialised"] == "lua"])
        assert set(table.loc[table["group"] == group, "expert"]) == expected
        assert said["specialised"][str(group)] == len(expected) > 0
    assert table["label_mass"].is_monotonic_decreasing
    best = said["experts"][0]
    row = run.experts(best["group"]).loc[best["expert"]]
    assert best["label_mass"] == pytest.approx(row["mass:lua"])
    assert best["top_tokens"][0] == run.examples(best["group"], best["expert"], 1)["token_text"].iloc[0]
    assert len(set(best["top_tokens"])) == len(best["top_tokens"])
    masked = read_mask(run)
    assert masked is not None
    at = masked.labels.index("lua")
    assert list(said["mask"]["rise"].values()) == pytest.approx(np.asarray(masked.matrix)[at].tolist())


def test_label_report_says_of_which_documents_a_sample_is(run_path: Path, tmp_path: Path) -> None:
    run = open_run(shutil.copytree(run_path, tmp_path / "run"))  # other tests read the analysis of all documents
    label = run.labels[0]
    label_report(run, label, "html", tmp_path / "all.html")
    assert "a sample" not in (tmp_path / "all.html").read_text(encoding="utf-8")
    summary = analyze_run(run, permutations=0, sample=3)
    label_report(run, label, "html", tmp_path / "few.html")
    assert f"are of a sample: {summary.drawn}." in (tmp_path / "few.html").read_text(encoding="utf-8")


def test_text_report_agrees_with_a_dense_pass(run: Run, tmp_path: Path) -> None:
    text_report(run, TEXT, "json", tmp_path / "t.json")
    text_report(run, TEXT, "csv", tmp_path / "t.csv")
    said = _json(tmp_path / "t.json")
    assert "".join(token["text"] for token in said["tokens"]) == TEXT
    model = MonetForCausalLM.from_pretrained(run.model_path).eval()
    ids = run.tokenizer()(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        out = model(ids, output_router_probs=True)
    for group, layers in zip(run.groups, model.config.routing_groups, strict=True):
        g1, g2 = (side[0, 1:] for side in out.router_probs[layers.start])  # without the start-of-text token
        dense = torch.einsum("thi,thj->tij", g1, g2).flatten(1)
        for token, scores in zip(said["tokens"], dense, strict=True):
            found = token["experts"][str(group)]
            assert [expert["score"] for expert in found] == pytest.approx(scores.topk(len(found)).values.tolist())
            assert [scores[expert["expert"]].item() for expert in found] == pytest.approx([e["score"] for e in found])
    assert said["next"][0]["probability"] == pytest.approx(out.logits[0, -1].softmax(-1).max().item(), rel=1e-5)
    assert said["push"]["logit"] == pytest.approx(out.logits[0, -1].max().item(), rel=1e-5)
    assert sum(part["contribution"] for part in said["push"]["parts"]) == pytest.approx(said["push"]["logit"], rel=1e-4)
    table = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    assert len(table) == sum(len(experts) for token in said["tokens"] for experts in token["experts"].values())


def test_text_document_is_one_forward_pass(run: Run, count_passes: Callable[[], int]) -> None:
    text_document(
        run,
        MonetForCausalLM.from_pretrained(run.model_path).eval(),
        Prompt.tokenise(run_tokenizer(run), TEXT, context_length(run)),
    )
    assert count_passes() == 1


def test_run_without_analysis(bare_run_path: Path, tmp_path: Path) -> None:
    run = open_run(bare_run_path)
    expert = int(run.experts(1)["mass"].idxmax())
    for kind in KINDS:
        expert_report(run, 1, expert, kind, tmp_path / f"e.{kind}")
    assert _json(tmp_path / "e.json")["expert"]["specialised"] is None
    assert "monet analyze" in (tmp_path / "e.html").read_text()
    with pytest.raises(WorkbenchError, match=f"run `monet analyze {bare_run_path}`"):
        label_report(run, "lua", "html", tmp_path / "l.html")


@pytest.mark.parametrize(
    ("group", "expert", "kind", "said"),
    [
        (9, 1, "html", "no group 9"),
        (0, 10**6, "html", "no expert 1000000"),
        (0, -1, "json", "no expert -1"),
        (0, 1, "pdf", "no report format 'pdf'"),
    ],
)
def test_what_is_not_there_is_refused(run: Run, group: int, expert: int, kind: str, said: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("kept")
    with pytest.raises(WorkbenchError, match=said):
        expert_report(run, group, expert, kind, out)
    assert out.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [out]


def test_expert_that_is_never_active_is_refused(
    run: Run, strongest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = run.experts(0).drop(index=strongest)
    monkeypatch.setattr(run, "experts", lambda group: seen)
    with pytest.raises(WorkbenchError, match="never active"):
        expert_report(run, 0, strongest, "html", tmp_path / "out")


def test_where_it_cannot_be_written(run: Run, strongest: int, tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match="is a folder"):
        expert_report(run, 0, strongest, "json", tmp_path)
    with pytest.raises(WorkbenchError, match="there is no folder"):
        expert_report(run, 0, strongest, "json", tmp_path / "missing" / "e.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("x" * 100_000, "100,001 tokens; the model reads at most 64"),
        ("x" * 100, "101 tokens; the model reads at most 64"),
        ("\ud800", "not Unicode"),
    ],
    ids=["empty", "very-long", "long", "surrogate"],
)
def test_text_that_cannot_be_read_is_refused(run: Run, text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match=said):
        text_report(run, text, "html", tmp_path / "t.html")
    assert not list(tmp_path.iterdir())


def test_unknown_label_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match="no label 'cobol'.*lua"):
        label_report(run, "cobol", "html", tmp_path / "l.html")


def test_a_split_character_stands_once_in_running_text() -> None:
    shown = _environment().filters["visible"]

    def read(pieces: list[str]) -> str:
        return _Page("".join(shown(piece, at > 0) for at, piece in enumerate(pieces))).text

    assert read(["a", "‹€ 1/2›", "‹€ 2/2›", "b"]) == "a€1/22/2b"
    assert read(["‹€ 2/2›", "b"]) == "€2/2b"  # the first token shown names the character
