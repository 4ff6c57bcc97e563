"""docs/reports.md names every field of every report; none says where on a machine anything lies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from monet_model import ExpertEdit, MonetForCausalLM
from workbench import open_run
from workbench.analysis import diff_models
from workbench.analysis.attribution.prompt import Prompt
from workbench.analysis.run_model import run_tokenizer
from workbench.explain.logit_lens import logit_view
from workbench.report.comparison import comparison_document
from workbench.report.diff import diff_document
from workbench.report.edit import edit_document
from workbench.report.expert import expert_document
from workbench.report.files import Document, encode
from workbench.report.label import label_document
from workbench.report.list import list_document
from workbench.report.origin import public_name
from workbench.report.text import text_document
from workbench.store.address import Expert

ROOT = Path(__file__).parents[3]
VALUES = {
    "labels",
    "rise",
    "control",
    "confirmed",
    "specialised",
    "sha256",
    "versions",
    "groups",
    "experts",
    "density",
}  # keys are names, numbers


def _fields(content: Any, inside: str = "") -> Iterator[str]:
    if isinstance(content, list):
        for row in content:
            yield from _fields(row, inside)
    elif isinstance(content, dict):
        for name, value in content.items():
            if not (inside in VALUES and (name.isdigit() or " " in name or "." in name)):
                yield name
            yield from _fields(value, name)


@pytest.fixture(scope="module")
def reports(run_path: Path) -> dict[str, Document]:
    run = open_run(run_path)
    model = MonetForCausalLM.from_pretrained(run.model_path).eval()
    edit = ExpertEdit.from_experts(model, {run.group_layers[0]: torch.arange(9)})
    strongest = Expert(0, int(run.experts(0)["mass"].idxmax()))
    noted = {"group": 0, "expert": strongest.id, "tags": [["a"]], "notes": [["b"]]}
    return {
        "`--expert G:ID`": expert_document(run, strongest, logit_view(run, model, *strongest)),
        "A list": list_document(run, "one", "", pd.DataFrame(noted)),
        "`--label L`": label_document(run, "lua"),
        "`--text T`": text_document(run, model, Prompt.tokenise(run_tokenizer(run), "x = 1", 64)),
        "`--edit FILE`": edit_document(run, model, edit, "nine"),
        "`--against RUN`": comparison_document(run, run),
        "`--diff`": diff_document(diff_models(run.model_path, run.model_path, run.manifest["corpus"]["path"], limit=1)),
    }


NAMES = ["`--expert G:ID`", "A list", "`--label L`", "`--text T`", "`--edit FILE`", "`--against RUN`", "`--diff`"]


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_in_the_documentation(reports: dict[str, Document], name: str, run_path: Path) -> None:
    everywhere, *sections = (ROOT / "docs" / "reports.md").read_text().split("\n## ")
    said = next(section for section in sections if section.startswith(name))
    common = everywhere + next(section for section in sections if section.startswith("In every report"))
    named = {*open_run(run_path).labels, *reports[name].content["origin"]["versions"]}
    missing = {field for field in _fields(reports[name].content) if f"`{field}`" not in said + common} - named
    assert not missing


@pytest.mark.parametrize("name", NAMES)
def test_no_report_says_where_its_model_or_corpus_lies(reports: dict[str, Document], name: str, run_path: Path) -> None:
    run = open_run(run_path)
    model, corpus = Path(run.model_path), Path(run.manifest["corpus"]["path"])
    assert (model / "config.json").is_file()  # the run itself knows
    assert model.is_absolute()
    for kind in ("html", "json"):
        said = encode(reports[name], kind).decode()
        assert model.name in said
        assert str(model.parent) not in said
        assert str(corpus.parent) not in said


def test_names_are_told_without_the_folders_around_them() -> None:
    told = ["org/monet", "org/monet@v1/a", "/home/ada/m", "../ada/m", "~/m", "/", None]
    assert [public_name(one) for one in told] == ["org/monet", "org/monet@v1/a", "m", "m", "m", "/", None]
