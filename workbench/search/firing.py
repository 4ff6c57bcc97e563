"""Which experts fire on a text: exact counts over all its occurrences, from the stored routing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cuda_ext import Statistics, accumulate

from ..analysis.token_keys import has_token_keys
from ..errors import UnsupportedError
from ..store.runfiles import check_count
from .bounded import bounded_experts, f1_score
from .spelling import occurrences

if TYPE_CHECKING:
    from ..store import Run

SHOWN = 50
ROWS_AT_ONCE = 2**14  # token rows of routing held at once: bounds memory
READ_DIRECTLY = 256  # most token rows whose own routing is read; of more, the inverted index is faster
COLUMNS = ["group", "expert", "tokens", "rate", "precision", "f1", "mean", "max", "sum"]


def experts_firing_on(run: Run, text: str, group: int | None = None, limit: int = SHOWN) -> pd.DataFrame:
    """Return the experts that fire on a text, best first.

    The text occurs where whole tokens spell it: see ``occurrences``. An expert fires on an occurrence if it is active
    at the last of these tokens. The best experts are those of highest F1, the harmonic mean of ``rate`` and
    ``precision``: active at all occurrences and nowhere else, it is 1.

    Args:
        run: an opened run with a tokenizer, which holds the routing of all its documents.
        text: the text, such as ``#endif``.
        group: number of the group. Default: all groups.
        limit: number of experts, at most.

    Returns:
        One row per expert, by falling F1, then sum, then id; none if the text does not occur. Columns:

        - group, expert
        - tokens: occurrences at which it is active.
        - rate: ``tokens`` as a share of the occurrences.
        - precision: ``tokens`` as a share of all tokens at which it is active.
        - f1: harmonic mean of rate and precision.
        - mean, max, sum: of its scores over ``tokens``, from the stored half precision.

    Raises:
        BadInputError: the text is empty, or ``limit`` is not a whole number from 0.
        NotFoundError: there is no such group.
        UnsupportedError: the run has no tokenizer, or keeps the routing of some documents only.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.search import experts_firing_on
        >>> experts = experts_firing_on(open_run("runs/demo"), "return", limit=3)
        >>> experts.columns.tolist()
        ['group', 'expert', 'tokens', 'rate', 'precision', 'f1', 'mean', 'max', 'sum']
        >>> experts["f1"].is_monotonic_decreasing
        True
    """
    groups = run.groups if group is None else [run.check_group(group)]
    return experts_at(run, occurrences(run, text), groups, limit)


def experts_at(run: Run, rows: NDArray[np.int64], groups: Sequence[int], limit: int = SHOWN) -> pd.DataFrame:
    """Return the experts that fire at some token rows, best first: see ``experts_firing_on``.

    Args:
        run: an opened run that holds the routing of all its documents.
        rows: (n,) token rows, ascending, each once.
        groups: numbers of groups.
        limit: number of experts, at most.

    Raises:
        BadInputError: ``limit`` is not a whole number from 0.
        NotFoundError: there is no such group or row.
        UnsupportedError: the run keeps the routing of some documents only.

    Examples:
        >>> import numpy as np
        >>> from workbench import open_run
        >>> from workbench.search import experts_at
        >>> experts = experts_at(open_run("runs/demo"), np.array([0, 7]), [0], limit=3)
        >>> bool((experts["tokens"] <= 2).all())
        True
    """
    check_count("limit", limit)
    if not run.documents["kept"].all():
        raise UnsupportedError(
            f"{run.path} keeps the routing of some documents only; to count where experts fire, export it again with "
            "`monet export MODEL CORPUS RUN --keep-routing all`."
        )
    many = len(rows) > READ_DIRECTLY and all(has_token_keys(run, group) for group in groups)
    table = bounded_experts(run, rows, groups, limit) if limit and many else None
    if table is None:
        table = pd.concat([_all_experts(run, rows, group) for group in groups], ignore_index=True)
    order = ["f1", "sum", "group", "expert"]
    best = table.sort_values(order, ascending=[False, False, True, True]).head(limit).reset_index(drop=True)
    best = best.assign(
        rate=best["tokens"] / max(len(rows), 1),
        precision=best["tokens"] / best["everywhere"],
        mean=best["sum"] / best["tokens"],
    )
    return best[COLUMNS]


def _all_experts(run: Run, rows: NDArray[np.int64], group: int) -> pd.DataFrame:
    """All experts of a group that are active at the rows, as ``bounded_experts`` has them, from the rows' routing."""
    counted = Statistics.empty(run.num_keys, run.heads, 1, best=1, bins=1)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        chunk = rows[start : start + ROWS_AT_ONCE]
        labels = torch.zeros(len(chunk), dtype=torch.int64)
        accumulate(counted, run.routing(chunk, group), labels, torch.from_numpy(chunk))
    tokens = counted.tokens[:, 0].numpy()
    expert = np.flatnonzero(tokens)
    everywhere = run.experts(group, ("tokens",))["tokens"].reindex(expert).to_numpy()
    return pd.DataFrame(
        {
            "group": group,
            "expert": expert,
            "everywhere": everywhere,
            "tokens": tokens[expert],
            "f1": f1_score(tokens[expert], len(rows), everywhere),
            "sum": counted.masses[:, 0].numpy()[expert],
            "max": counted.maximum.numpy()[expert],
        }
    )
