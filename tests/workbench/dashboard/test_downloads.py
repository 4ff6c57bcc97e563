"""Reports as downloads: a file, or a status and a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench import open_run
from workbench.dashboard.application import create_app
from workbench.dashboard.links import expert_file, label_file, text_file


@pytest.mark.parametrize(
    ("url", "status", "text"),
    [
        (expert_file(0, 999999, "html"), 404, "there is no expert 999999"),
        (expert_file(9, 1, "html"), 404, "there is no group 9"),
        (expert_file(0, 1, "pdf"), 400, "no report format 'pdf'"),
        (label_file("cobol", "csv"), 404, "no label 'cobol'"),
        (text_file("", "json"), 400, "text is empty"),
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
