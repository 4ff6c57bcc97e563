"""`monet evaluate-code`: pass@k of programs that a model completes, run with limits; what the paper's Table 3 shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import torch

from ..analysis.checks import check_model
from ..errors import BadInputError
from ..progress import job
from .evaluate import in_force
from .generated_code_result import CodeResult
from .problems import LANGUAGES, Problem, check_languages
from .sandbox import Limits, run_limited

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from monet_model import ExpertEdit, MonetForCausalLM

TEMPERATURE, TOP_P = 0.8, 0.95  # of Chen et al. 2021, where k is 100
SAMPLES, NEW_TOKENS = 20, 256
TOGETHER = 20  # samples that are drawn in one batch


def evaluate_code(
    model: MonetForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    problems: Sequence[Problem],
    *,
    execute: bool = False,
    edit: ExpertEdit | None = None,
    samples: int = SAMPLES,
    k: Sequence[int] = (1, 10),
    temperature: float = TEMPERATURE,
    top_p: float = TOP_P,
    max_new_tokens: int = NEW_TOKENS,
    seed: int = 0,
    limits: Limits | None = None,
    progress: bool = False,
) -> CodeResult:
    """Let a model complete programs, run them with their tests, and estimate pass@k (Chen et al. 2021).

    Every program runs by itself in a folder of its own with limits on CPU time, memory, files and time, and without a
    network where the system allows that (`workbench/evaluation/sandbox.py`). It runs as your user: see there what this
    does not stop.

    Args:
        model: a Monet model in evaluation mode.
        tokenizer: its tokenizer.
        problems: of ``read_problems``.
        execute: must be True: programs that a model wrote are executed on this machine.
        edit: factors of experts in force while the model writes.
        samples: completions of each problem, at least the largest k.
        k: the numbers of draws.
        temperature, top_p: of sampling; temperature above 0, top_p above 0 and at most 1.
        max_new_tokens: of a completion, at least 1; fewer where the model's context is full before.
        seed: of the samples; each problem's are drawn by themselves.
        limits: of each program.
        progress: show samples, rate and time left.

    Raises:
        BadInputError: ``execute`` is not True, a setting is out of range, or a prompt fills the model's context.
        UnsupportedError: a language's interpreter or compiler is not installed, or the edit is another model's.

    Examples:
        >>> from pathlib import Path
        >>> from workbench.checkpoint import load_model
        >>> from workbench.evaluation import Problem, evaluate_code
        >>> from workbench.store.token_text import load_tokenizer
        >>> model, tokenizer = load_model("monet_model/demo"), load_tokenizer(Path("monet_model/demo"))
        >>> problem = Problem("one", "python", "one = 1", "assert isinstance(one, int)", stops=("\\n",))
        >>> found = evaluate_code(model, tokenizer, [problem], execute=True, samples=2, k=[1], max_new_tokens=2)
        >>> found.problems.columns.tolist()
        ['problem', 'language', 'samples', 'passed', 'pass@1']
    """
    if not execute:
        raise BadInputError(
            "measuring generated code executes on this machine what the model writes; allow it with execute=True "
            "(--execute-generated-code)."
        )
    check_model(model)
    _check(samples, k, temperature, top_p, max_new_tokens)
    check_languages(list(problems))
    limits = limits or Limits()
    rows, isolated = [], True
    with job("evaluate-code", len(problems) * samples, "samples", progress) as advance:
        for number, problem in enumerate(problems):
            with in_force(model, edit), torch.random.fork_rng():
                torch.manual_seed(seed + number)
                texts = _complete(model, tokenizer, problem, samples, temperature, top_p, max_new_tokens)
            for sample, text in enumerate(texts):
                outcome = run_limited(problem.program(text), LANGUAGES[problem.language].commands, limits)
                isolated &= outcome.isolated
                rows.append((problem.name, problem.language, sample, text, outcome.reason, outcome.output))
                advance()
    settings = {
        "samples": samples,
        "k": list(k),
        "temperature": temperature,
        "top_p": top_p,
        "max_new_tokens": max_new_tokens,
        "seed": seed,
        "limits": vars(limits),
        "edited_experts": 0 if edit is None else len(edit),
    }
    columns = ["problem", "language", "sample", "text", "outcome", "output"]
    return CodeResult(pd.DataFrame(rows, columns=columns), list(k), isolated, settings)


def _check(samples: int, k: Sequence[int], temperature: float, top_p: float, max_new_tokens: int) -> None:
    if not k or min(k) < 1 or max(k) > samples:
        raise BadInputError(f"k must be numbers from 1 to the {samples} samples of a problem, got {list(k)}.")
    if not 0 < temperature < float("inf"):
        raise BadInputError(f"the temperature must be a number above 0, got {temperature}.")
    if not 0 < top_p <= 1:
        raise BadInputError(f"top_p must be above 0 and at most 1, got {top_p}.")
    if max_new_tokens < 1:
        raise BadInputError(f"the number of new tokens must be at least 1, got {max_new_tokens}.")


@torch.inference_mode()
def _complete(
    model: MonetForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    problem: Problem,
    samples: int,
    temperature: float,
    top_p: float,
    max_new_tokens: int,
) -> list[str]:
    """Completions of a prompt, each cut where it ends.

    Raises:
        BadInputError: the prompt fills the model's context.
    """
    ids = tokenizer(problem.prompt, return_tensors="pt")["input_ids"].to(model.device)
    room = model.config.max_position_embeddings - ids.shape[1]
    if room < 1:
        raise BadInputError(
            f"the prompt of {problem.name!r} has {ids.shape[1]:,} tokens and fills the model's context of "
            f"{model.config.max_position_embeddings:,}; leave the problem out."
        )
    texts: list[str] = []
    while len(texts) < samples:
        written = cast(Any, model).generate(
            ids,
            do_sample=True,
            temperature=temperature,
            top_p=top_p,
            top_k=0,  # transformers' own default would cut to the 50 likeliest tokens
            max_new_tokens=min(max_new_tokens, room),
            num_return_sequences=min(TOGETHER, samples - len(texts)),
            stop_strings=list(problem.stops) or None,
            tokenizer=tokenizer,
            pad_token_id=model.config.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        )
        new = tokenizer.batch_decode(
            written[:, ids.shape[1] :], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        texts += map(problem.cut, new)
    return texts
