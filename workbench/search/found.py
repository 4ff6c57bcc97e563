"""The top experts of a search of any kind: what a row of an edit names by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd

from ..errors import NotFoundError
from .documents import documents_matching, read_pattern, strongest_experts
from .explanations import explanations_matching
from .firing import experts_firing_on
from .text import experts_of_text

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store import Run
    from ..store.edit_text import SearchExperts

MATCHES = 100  # documents whose matches count
ALL = 10**9


def experts_found(run: Run, chosen: SearchExperts, model: Callable[[], MonetForCausalLM]) -> pd.DataFrame:
    """Return the top experts of a search, over all groups.

    Args:
        run: an opened run.
        chosen: what is searched for, and how many experts are taken: of kind ``firing`` those of highest F1, of
            ``text`` those of the largest sum of scores over the text, of ``documents`` those of the largest sum over
            the matches in the first 100 documents, of ``explanations`` the first ones whose explanations match.
        model: loads the run's model; called for the kind ``text`` only.

    Returns:
        Columns group and expert, best first; fewer experts where fewer are found.

    Raises:
        NotFoundError: the search finds no expert.
        WorkbenchError: as the search of that kind.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.search import experts_found
        >>> from workbench.store.edit_text import SearchExperts
        >>> len(experts_found(open_run("runs/demo"), SearchExperts("firing", "return", 5), lambda: None))
        5
    """
    if chosen.kind == "firing":
        table = experts_firing_on(run, chosen.query, limit=chosen.n)
    elif chosen.kind == "text":
        table = experts_of_text(run, model(), chosen.query, limit=chosen.n).table
    elif chosen.kind == "documents":
        table = _of_documents(run, chosen.query)
    else:
        table = explanations_matching(run, chosen.query, ALL)
    found = table[["group", "expert"]].drop_duplicates().head(chosen.n).reset_index(drop=True)
    if found.empty:
        raise NotFoundError(f"{str(chosen)!r} names experts of a search that finds none; search for something else.")
    return found


def _of_documents(run: Run, query: str) -> pd.DataFrame:
    hits = documents_matching(run, *read_pattern(query), limit=MATCHES).hits
    if hits.empty:
        return pd.DataFrame({"group": [], "expert": []})
    tables = [strongest_experts(run, hits, group, ALL).assign(group=group) for group in run.groups]
    summed = pd.concat(tables).groupby(["group", "expert"], as_index=False)["sum"].sum()
    return summed.sort_values(["sum", "group", "expert"], ascending=[False, True, True])
