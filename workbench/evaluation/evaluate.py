"""`monet evaluate`: metrics of a model on tasks of the LM Evaluation Harness, as it is or under an edit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..analysis.checks import check_model
from ..errors import BadInputError, UnsupportedError
from ..progress import job
from .evaluation_result import KEPT, EvaluationResult, metrics_table
from .harness import SEED, harness_model, load_tasks

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from transformers import PreTrainedTokenizerFast

    from monet_model import ExpertEdit, MonetForCausalLM

BATCH_SIZE = 1  # the harness' own default


def evaluate_model(
    model: MonetForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    tasks: Sequence[str],
    *,
    edit: ExpertEdit | None = None,
    limit: int | None = None,
    include: str | Path | None = None,
    num_fewshot: int | None = None,
    batch_size: int = BATCH_SIZE,
    progress: bool = False,
) -> EvaluationResult:
    """Evaluate a model on tasks of the LM Evaluation Harness (Gao et al. 2024, https://zenodo.org/records/12608602).

    Needs the extra ``eval``. Prompts, scoring, names and standard errors are the harness' own. The data of its tasks
    come from the hub, and from the hub's cache once they are there; a task of your own can read a local file.

    Args:
        model: a Monet model in evaluation mode.
        tokenizer: its tokenizer.
        tasks: names of tasks, groups or tags, such as ``hellaswag``, ``mmlu`` or ``mmlu_domains``.
        edit: factors of experts in force while the model answers.
        limit: documents of each task, the first ones; None for all. Only all give the task's score.
        include: a folder with tasks of your own, as YAML files in the harness' format.
        num_fewshot: examples in each prompt; None for what each task says, and 0 where it says nothing.
        batch_size: requests answered in one forward pass.
        progress: show requests, rate and time left.

    Raises:
        UnsupportedError: the harness is not installed, a task executes generated code, or the edit is another model's.
        NotFoundError: there is no such task, or its data are not here and cannot be downloaded.
        BadInputError: the model is in training mode, a setting is out of range, or the harness refuses a task.

    Examples:
        Ten questions of a task whose data are on the hub::

            model, tokenizer = load_model("monet_model/demo"), AutoTokenizer.from_pretrained("monet_model/demo")
            evaluate_model(model, tokenizer, ["hellaswag"], limit=10).table
    """
    check_model(model)
    check_limit(limit)
    edited = in_force(model, edit)
    lm = harness_model(model, tokenizer, batch_size)
    loaded = load_tasks(tasks, include=include, num_fewshot=num_fewshot)
    with job("evaluate", loaded.requests(limit), "requests", progress) as advance, edited:
        found = loaded.run(lm, limit, advance)
    settings = {
        "tasks": loaded.names,
        "limit": limit,
        "num_fewshot": num_fewshot,
        "batch_size": batch_size,
        "seed": SEED,
        "edited_experts": 0 if edit is None else len(edit),
        "lm_eval_version": loaded.harness,
    }
    return EvaluationResult(metrics_table(found), _plain({k: found[k] for k in KEPT if k in found}), settings)


def check_limit(limit: int | None) -> None:
    """Raise BadInputError for a limit of no documents."""
    if limit is not None and limit < 1:
        raise BadInputError(f"the limit must be at least 1 document, got {limit}.")


def in_force(model: MonetForCausalLM, edit: ExpertEdit | None) -> AbstractContextManager[None]:
    """A block in which an edit is in force, or none.

    Raises:
        UnsupportedError: it belongs to another model.
    """
    if edit is None:
        return nullcontext()
    try:
        edit.check(model)
    except ValueError as error:
        raise UnsupportedError(str(error)) from error
    return model.edit_experts(edit)


def _plain(value: Any) -> Any:
    """The harness' dictionaries in JSON types: functions in a task's settings become their text."""
    return json.loads(json.dumps(value, default=str))
