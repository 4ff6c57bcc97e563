"""Programs that a model on a GPU that is not there writes: nothing of it is left on the host."""

from __future__ import annotations

from pathlib import Path

import torch

from monet_model import MonetForCausalLM
from workbench import open_run
from workbench.evaluation.generated_code import _complete
from workbench.evaluation.problems import Problem

from ...stand_in.gpu import Gpu, moved


def test_completions_are_written_there(gpu: Gpu, bare_run_path: Path) -> None:
    run = open_run(bare_run_path)
    tokenizer = run.tokenizer()
    assert tokenizer is not None
    there = moved(MonetForCausalLM.from_pretrained(run.model_path).eval())
    problem = Problem("add", "python", "def add(a, b):", "", stops=("\n",))
    with gpu.on(), torch.random.fork_rng():
        texts = _complete(there, tokenizer, problem, 2, 1.0, 0.9, 4)
    assert len(texts) == 2
    assert not any("\n" in text for text in texts)
