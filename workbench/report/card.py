"""One expert on a small page, to show inside a page of somebody else."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import pandas as pd

from ..store.address import Expert
from .expert import examples
from .list import listed_experts
from .origin import origin
from .render import render

if TYPE_CHECKING:
    from ..store import Run

EXAMPLES = 5


def expert_card(run: Run, expert: Expert, explanations: pd.DataFrame, address: str) -> str:
    """An HTML page of an expert's label, explanations, top tokens and best examples; it loads and runs nothing.

    Args:
        run: the opened run.
        expert: one of its experts.
        explanations: of it, as ``read_explanations`` returns them.
        address: of the page with everything about it, which the card links to.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.explain import read_explanations
        >>> from workbench.report.card import expert_card
        >>> from workbench.store.address import Expert
        >>> run = open_run("runs/demo")
        >>> strongest = Expert(0, int(run.experts(0)["mass"].idxmax()))
        >>> page = expert_card(run, strongest, read_explanations(run, *strongest), "/")
        >>> page.count('<li>'), "<script" in page
        (5, False)
    """
    row = {"group": expert.group, "expert": expert.id, "tags": [], "notes": []}
    (listed,) = listed_experts(run, pd.DataFrame([row]))
    content = {
        "origin": origin(run),
        "expert": listed,
        "explanations": explanations[["text", "author", "kind"]].to_dict("records"),
        "examples": [asdict(example) for example in examples(run, expert, EXAMPLES)] if listed["tokens"] else [],
        "address": address,
    }
    return render("card.html.j2", content)
