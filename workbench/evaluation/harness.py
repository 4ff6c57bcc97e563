"""The LM Evaluation Harness (https://github.com/EleutherAI/lm-evaluation-harness), run on a model in memory.

Its modules are imported inside functions: it is an optional extra. Names and numbers are the harness' own.
"""

from __future__ import annotations

import copy
import difflib
import importlib
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import BadInputError, NotFoundError, UnsupportedError
from ..extras import require
from ..importing import importing_transformers
from ..progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

RECIPES = Path(__file__).parent / "recipes"  # groups of the harness' own tasks, always known beside them
MMLU_DOMAINS = "mmlu_domains"  # the recipe that sorts MMLU's subjects into MMLU-Pro's domains
SEED = 1234  # the harness' own, of the few-shot examples and of sampled generations
REQUESTS = ("loglikelihood", "loglikelihood_rolling", "generate_until")


@dataclass(frozen=True)
class Tasks:
    """Tasks of the harness, with their data.

    Attributes:
        names: what was asked for.
        loaded: the harness' tasks and groups by name, as its ``TaskManager.load`` returns them.
        members: the tasks and groups that a table has a column for: of a group or tag that was asked for its direct
            members, otherwise the task itself.
    """

    names: list[str]
    loaded: dict[str, dict[str, Any]]
    members: list[str]

    @property
    def harness(self) -> str:
        """The version of the harness."""
        return version("lm_eval")

    def requests(self, limit: int | None) -> int:
        """How many requests the tasks make of a model, for ``limit`` documents of each or for all."""
        tasks = self.loaded["tasks"].values()
        self._seed()
        with _seeded(), _without_bars():
            for task in tasks:
                task.build_all_requests(limit=limit)
        return sum(instance.repeats for task in tasks for instance in task.instances)

    def run(self, lm: Any, limit: int | None, advance: Progress) -> dict[str, Any]:
        """What ``lm_eval.evaluate`` returns, without the samples; the same each time for the same model.

        Args:
            lm: of ``harness_model``.
            limit: documents of each task; None for all.
            advance: called for every answered request.

        Raises:
            BadInputError: the harness refuses the tasks or the model.
        """
        from lm_eval.evaluator import evaluate

        self._seed()
        lm.set_cache_hook(_Counter(advance))
        try:
            with _seeded(), _without_bars():
                found: dict[str, Any] = evaluate(lm, self.loaded, limit=limit, log_samples=False)
        except (ValueError, AssertionError) as error:
            raise BadInputError(f"the harness cannot evaluate {', '.join(self.names)}: {error}") from error
        return found

    def _seed(self) -> None:
        """Draw the same few-shot examples as every time before."""
        for task in self.loaded["tasks"].values():
            task.set_fewshot_seed(seed=SEED)


class _Counter:
    """What the harness calls with every answer: where its cache would keep them, ours only counts."""

    def __init__(self, advance: Progress) -> None:
        self.advance = advance

    def add_partial(self, *_: Any) -> None:
        self.advance()


def load_tasks(names: Sequence[str], *, include: str | Path | None = None, num_fewshot: int | None = None) -> Tasks:
    """Find tasks, groups or tags by name, and load their data.

    Args:
        names: such as ``hellaswag``, ``mmlu`` or ``mmlu_domains``, which this package adds.
        include: a folder with more tasks, as YAML files in the harness' format. What they name instead of the
            harness' own tasks is found without reading those, which takes seconds.
        num_fewshot: examples in each prompt; None for what each task says. A task that says 0 has none in any case.

    Raises:
        UnsupportedError: the harness is not installed, or a task runs generated code.
        NotFoundError: there is no such task or folder, or a task's data are not here and cannot be downloaded.
        BadInputError: no names, a negative number of examples, or a task's file is wrong.
    """
    require("lm_eval", "eval", "the LM Evaluation Harness")
    if not names:
        raise BadInputError("no task was named; name at least one, such as hellaswag.")
    if num_fewshot is not None and num_fewshot < 0:
        raise BadInputError(f"the number of few-shot examples must be at least 0, got {num_fewshot}.")
    if include is not None and not Path(include).is_dir():
        raise NotFoundError(f"there is no folder {include} with tasks to include.")
    manager = _manager(names, include)
    loaded: dict[str, dict[str, Any]] = {"tasks": {}, "groups": {}, "group_map": {}}
    members: list[str] = []
    for name in dict.fromkeys(names):
        if name not in manager.task_index:
            raise _unknown(name, manager.all_tasks)
        found = _load(manager, name)
        for part in loaded:
            loaded[part] |= found[part]
        members += found["group_map"].get(name, found["tasks"])
    for name, task in loaded["tasks"].items():
        if getattr(task, "UNSAFE_CODE", False):
            raise UnsupportedError(
                f"the task {name} executes what the model writes, without limits; measure generated code with "
                "`monet evaluate-code`, which limits it."
            )
        if num_fewshot is not None and task.get_config("num_fewshot") != 0:
            task.set_config(key="num_fewshot", value=num_fewshot)
        elif task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
    return Tasks(list(dict.fromkeys(names)), loaded, list(dict.fromkeys(members)))


def harness_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, batch_size: int) -> Any:
    """The harness' view of a model and its tokenizer; neither is changed.

    Raises:
        UnsupportedError: the harness is not installed.
        BadInputError: the batch size is less than 1.
    """
    require("lm_eval", "eval", "the LM Evaluation Harness")
    if batch_size < 1:
        raise BadInputError(f"the batch size must be at least 1, got {batch_size}.")
    with importing_transformers(), _only_errors():
        from lm_eval.models.huggingface import HFLM

        lm = HFLM(pretrained=model, tokenizer=copy.deepcopy(tokenizer), batch_size=batch_size)
    for kind in REQUESTS:
        setattr(lm, kind, partial(getattr(lm, kind), disable_tqdm=True))
    return lm


def _manager(names: Sequence[str], include: str | Path | None) -> Any:
    from lm_eval.tasks import TaskManager

    if include is not None:
        alone = TaskManager(include_path=str(include), include_defaults=False)
        if _complete(names, alone.task_index):
            return alone
    folders = [str(RECIPES)] + ([str(include)] if include is not None else [])
    return TaskManager(include_path=folders)


def _complete(names: Sequence[Any], index: Mapping[str, Any]) -> bool:
    """Whether an index has all of these names, and what they are made of."""
    for name in names:
        if isinstance(name, dict) and isinstance(name.get("task"), list):  # a group inside a group
            if not _complete(name["task"], index):
                return False
            continue
        key: Any = name.get("group", name.get("task")) if isinstance(name, dict) else name
        if key not in index:
            return False
        parts = (index[key].cfg or {}).get("task")
        if isinstance(parts, list) and not _complete(parts, index):
            return False
    return True


def _unknown(name: str, known: Sequence[str]) -> NotFoundError:
    near = difflib.get_close_matches(name, known, n=5)
    near += [other for other in known if name.lower() in other.lower() and other not in near][: 5 - len(near)]
    return NotFoundError(
        f"there is no task {name!r}; "
        + (f"names like it: {', '.join(near)}." if near else "the harness lists all with `lm-eval ls tasks`.")
    )


def _load(manager: Any, name: str) -> dict[str, dict[str, Any]]:
    try:
        found: dict[str, dict[str, Any]] = manager.load([name])
    except (OSError, ValueError) as error:
        text = str(error)
        if isinstance(error, OSError) or "cache" in text:
            raise NotFoundError(
                f"the data of the task {name} are neither on this machine nor can they be downloaded: {text}. Run the "
                "command once where the hub can be reached; what it downloads is kept."
            ) from error
        raise BadInputError(f"the task {name} cannot be read: {text}") from error
    return found


@contextmanager
def _seeded() -> Iterator[None]:
    """The seeds that the harness sets, and the caller's random state afterwards."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(SEED)
        np.random.seed(SEED)
        torch.manual_seed(SEED)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


@contextmanager
def _without_bars() -> Iterator[None]:
    """Without the bar that every task draws while its prompts are put together."""
    module: Any = importlib.import_module("lm_eval.api.task")
    bar = module.tqdm
    module.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        module.tqdm = bar


@contextmanager
def _only_errors() -> Iterator[None]:
    """Without warnings, which the harness gives for every model that it has not loaded itself."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
