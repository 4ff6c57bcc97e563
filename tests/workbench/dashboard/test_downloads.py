"""Reports as downloads: a file, or a status and a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monet_model import ExpertEdit, MonetForCausalLM
from workbench import open_run
from workbench.dashboard.application import create_app
from workbench.dashboard.context import Context
from workbench.dashboard.links import edit_file, expert_file, label_file, list_file, text_file
from workbench.errors import NotFoundError


@pytest.mark.parametrize(
    ("url", "status", "text"),
    [
        (expert_file(0, 999999, "html"), 404, "there is no expert 999999"),
        (expert_file(9, 1, "html"), 404, "there is no group 9"),
        (expert_file(0, 1, "pdf"), 400, "no report format 'pdf'"),
        (label_file("cobol", "csv"), 404, "no label 'cobol'"),
        (text_file({"text": ""}, "json"), 400, "text is empty"),
        (list_file("nothing", "csv"), 404, "no list 'nothing'"),
        (list_file("bookmarks", "pdf"), 400, "no report format 'pdf'"),
        (text_file({"text": "x", "edit": "<b>"}, "json"), 400, "names no expert"),
        (edit_file({"text": "x"}), 400, "has no edit"),
        (edit_file({"edit": "top:3=0"}), 400, "give the prompt too"),
    ],
)
def test_download_of_nothing_has_status_and_sentence(run_path: Path, url: str, status: int, text: str) -> None:
    answer = create_app(open_run(run_path)).server.test_client().get(url)
    assert answer.status_code == status
    assert text in answer.text
    assert answer.mimetype == "text/plain"


def test_label_report_before_analysis_is_a_conflict(bare_run_path: Path) -> None:
    answer = create_app(open_run(bare_run_path)).server.test_client().get(label_file("lua", "html"))
    assert answer.status_code == 409
    assert "monet analyze" in answer.text


def test_downloaded_report_is_the_document(run_path: Path) -> None:
    run = open_run(run_path)
    answer = create_app(run).server.test_client().get(label_file("lua", "json"))
    assert answer.status_code == 200
    assert answer.json["label"] == "lua"


def test_downloaded_expert_has_what_its_page_shows_of_the_model(
    run_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(run_path)
    expert = int(run.experts(0)["mass"].idxmax())
    client = create_app(run).server.test_client()
    assert len(client.get(expert_file(0, expert, "json")).json["logits"]["promoted"]) == 10

    def gone(*_: object) -> None:
        raise NotFoundError("there is no model")

    monkeypatch.setattr(Context, "logit_view", gone)
    answer = client.get(expert_file(0, expert, "json"))
    assert (answer.status_code, answer.json["logits"]) == (200, None)


def test_a_list_is_downloaded_before_anything_is_kept(run_path: Path) -> None:
    answer = create_app(open_run(run_path)).server.test_client().get(list_file("bookmarks", "json"))
    assert answer.status_code == 200
    assert (answer.json["name"], answer.json["experts"]) == ("bookmarks", [])


def test_downloaded_edit_is_the_one_of_the_address(run_path: Path, tmp_path: Path) -> None:
    run = open_run(run_path)
    answer = create_app(run).server.test_client().get(edit_file({"edit": "0:5=0, 1:7=2.5, top:2=0.5", "text": "def"}))
    assert answer.status_code == 200
    assert "edit.safetensors" in answer.headers["Content-Disposition"]
    (tmp_path / "edit").write_bytes(answer.data)
    edit = ExpertEdit.load(tmp_path / "edit")
    edit.check(MonetForCausalLM.from_pretrained(run.model_path))
    factors = torch.cat([edit.factors[layer] for layer in sorted(edit.factors)])
    assert sorted(factors.tolist()) == [0.0, 0.5, 0.5, 2.5]


def test_text_report_is_read_under_the_edit(run_path: Path) -> None:
    client = create_app(open_run(run_path)).server.test_client()
    plain, edited = (
        client.get(text_file({"text": "def f"} | edit, "json")).json for edit in ({}, {"edit": "label:lua=0, 0:5=2"})
    )
    assert plain["next"] != edited["next"]
    assert "edit" not in plain
    assert {"group": 0, "expert": 5, "factor": 2.0} in edited["edit"]
    page = client.get(text_file({"text": "def f", "edit": "0:5=2"}, "html")).text
    assert "Read under an edit of 1 expert: 0:5 × 2." in page
