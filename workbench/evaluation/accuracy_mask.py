"""`monet mask --measure accuracy`: ablate each label's experts, measure accuracy by domain; the paper's Table 11."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..analysis.checks import check_rule, check_same_model
from ..analysis.defaults import MIN_TOKENS, RATIO
from ..analysis.removal.choose import ablated_experts, removal
from ..analysis.removal.heldout import HeldOut
from ..analysis.results import check_name, write_result
from ..errors import BadInputError
from ..progress import job
from .accuracy_mask_result import AccuracyMask
from .evaluate import BATCH_SIZE, check_limit
from .evaluation_result import metrics_table
from .harness import harness_model, load_tasks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from monet_model import MonetForCausalLM

    from ..store import Run

METRIC = "acc"


def mask_accuracy(
    run: Run,
    model: MonetForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    tasks: Sequence[str],
    *,
    labels: Sequence[str] | None = None,
    ratio: float = RATIO,
    min_tokens: int = MIN_TOKENS,
    confirmed: bool = False,
    seed: int = 0,
    limit: int | None = None,
    include: str | Path | None = None,
    num_fewshot: int | None = None,
    batch_size: int = BATCH_SIZE,
    name: str | None = None,
    progress: bool = False,
) -> AccuracyMask:
    """Ablate each label's specialised experts in turn and measure the accuracy on tasks (Monet paper, Table 11).

    The experts are those that ``mask_labels`` ablates: the rule chooses them by their routing over a part of the run's
    documents, and they score 0 in every layer of their group. The tasks are evaluated as ``evaluate_model`` does, on
    the same questions and few-shot examples each time. A group of tasks is measured by its direct members:
    ``mmlu_domains``, MMLU by MMLU-Pro's 14 domains, has one column for each of them.

    Args:
        run: an opened run.
        model: the model it was exported from, in evaluation mode.
        tokenizer: its tokenizer.
        tasks: names of tasks, groups or tags whose tasks have the metric ``acc``.
        labels: the labels whose experts are ablated. Default: all that are not skipped.
        ratio, min_tokens, confirmed, seed: as for ``mask_labels``.
        limit, include, num_fewshot, batch_size: as for ``evaluate_model``.
        name: keep the result under this name, beside the unnamed one.
        progress: show requests, rate and time left.

    Returns:
        The accuracies. Sets ``RUN/analysis/mask-accuracy.json``, unless only some labels were asked for and no name was
        given; ``read_accuracy_mask`` reads it. With a name, it lies in ``RUN/analysis/NAME``.

    Raises:
        NotFoundError: an unknown label or task, or a task's data are not here and cannot be downloaded.
        BadInputError: a setting is out of range, fewer than two labels have two documents, one asked for has not, or a
            task has no accuracy.
        NotAnalysedError: confirmed experts are asked for, and the run's have not been tested.
        UnsupportedError: the harness is not installed, or the model is not the one the run was exported from.

    Examples:
        A folder with tasks of your own, whose YAML files name local data, needs no network::

            run = open_run("runs/demo")
            found = mask_accuracy(run, load_model(run.model_path), run.tokenizer(), ["my_group"], include="tasks")
            found.table()
    """
    check_rule(ratio, min_tokens)
    check_limit(limit)
    if name is not None:
        check_name(name)
    rows = list(run.labels if labels is None else dict.fromkeys(labels))
    for label in rows:
        run.check_label(label)
    check_same_model(run, model)
    lm = harness_model(model, tokenizer, batch_size)
    heldout = HeldOut.split(run, seed)
    if labels is None:
        rows = heldout.labels
    numbers = [heldout.number(label) for label in rows]
    loaded = load_tasks(tasks, include=include, num_fewshot=num_fewshot)
    chosen = ablated_experts(run, [heldout.choosing_sums(group) for group in run.groups], ratio, min_tokens, confirmed)
    ablations = [[by_label[number] for by_label in chosen] for number in numbers]
    with job("mask", loaded.requests(limit) * (1 + len(rows)), "requests", progress) as advance:
        plain = loaded.run(lm, limit, advance)
        before, before_stderr, documents = _columns(plain, loaded.members)
        after = []
        for experts in ablations:
            with model.edit_experts(removal(run.group_layers, experts, run.num_keys)):
                after.append(_columns(loaded.run(lm, limit, advance), loaded.members))
    result = AccuracyMask(
        labels=rows,
        skipped=heldout.skipped,
        domains=[plain["results"][member]["alias"] for member in loaded.members],
        tasks=loaded.members,
        baseline=before,
        baseline_stderr=before_stderr,
        accuracy=np.stack([values for values, _, _ in after]),
        stderr=np.stack([stderr for _, stderr, _ in after]),
        documents=documents,
        removed_by_group=[[len(ids) for ids in experts] for experts in ablations],
        ratio=ratio,
        min_tokens=min_tokens,
        seed=seed,
        confirmed=confirmed,
        limit=limit,
        num_fewshot=num_fewshot,
        lm_eval_version=loaded.harness,
    )
    if name is not None or rows == heldout.labels:
        write_result(run, result, name)
    return result


def _columns(found: dict[str, Any], members: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64], list[int]]:
    """Accuracy, standard error and questions of each member.

    Raises:
        BadInputError: one has no accuracy.
    """
    table = metrics_table(found)
    table = table[table["metric"] == METRIC].drop_duplicates("task").set_index("task")
    for member in members:
        if member not in table.index:
            metrics = [key.partition(",")[0] for key in found["results"][member] if "," in key and "_stderr" not in key]
            raise BadInputError(
                f"{member} has no accuracy ({METRIC}), but {', '.join(metrics) or 'no metric of its own'}; name tasks "
                "that have one, or a group that aggregates it."
            )
    table = table.loc[members]
    return table["value"].to_numpy(np.float64), table["stderr"].to_numpy(np.float64), table["documents"].tolist()
