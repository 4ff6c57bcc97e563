"""Reports made with a model on a GPU that is not there say what the processor's do."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from monet_model import ExpertEdit, MonetForCausalLM
from workbench import open_run
from workbench.analysis import Prompt, measure_edit
from workbench.report.text import text_document

from ...stand_in.gpu import Gpu, moved


def test_the_effect_of_an_edit(gpu: Gpu, run_path: Path) -> None:
    run = open_run(run_path)
    model = MonetForCausalLM.from_pretrained(run.model_path).eval()
    edit = ExpertEdit.from_experts(model, {run.group_layers[0]: list(range(40))})
    expected, there = measure_edit(run, model, edit, samples=20), moved(model)
    with gpu.on():
        found = measure_edit(run, there, edit, samples=20)
    pd.testing.assert_frame_equal(found.labels, expected.labels, rtol=1e-3, atol=1e-4)


def test_a_text(gpu: Gpu, run_path: Path) -> None:
    run = open_run(run_path)
    tokenizer = run.tokenizer()
    assert tokenizer is not None
    prompt = Prompt.tokenise(tokenizer, "def add(a, b):", 64)
    model = MonetForCausalLM.from_pretrained(run.model_path).eval()
    expected, there = text_document(run, model, prompt), moved(model)
    with gpu.on():
        found = text_document(run, there, prompt)
    pd.testing.assert_frame_equal(found.table, expected.table, rtol=1e-3, atol=1e-4)
