"""The report of a list of experts: what each is, its top tokens, and the tags and notes kept about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from ..store.token_text import visible
from .files import Document, plain
from .label import top_tokens
from .origin import analysis, origin

if TYPE_CHECKING:
    from ..store import Run

TOP_TOKENS = 8


def listed_experts(run: Run, items: pd.DataFrame) -> list[dict[str, Any]]:
    """The experts of a list as JSON types, in its order.

    Args:
        run: the opened run.
        items: of ``Notes.list_items`` or ``Notes.described``, or some of its rows.

    Returns:
        For each expert `group`, `expert`, `specialised` and `confirmed` (None before `monet analyze`), `tokens`,
        `mass`, `max`, `top_tokens` (texts, best first), `tags` and `notes`. One that is never active has no tokens.
    """
    rows = []
    tables = {
        int(group): (run.experts(int(group), ("tokens", "mass", "max")), analysis(run, int(group)))
        for group in items["group"].unique()
    }
    for item in items.itertuples(index=False):
        group, expert = int(item.group), int(item.expert)
        statistics, derived = tables[group]
        active = expert in statistics.index
        known = None if derived is None or not active else derived.loc[expert]
        rows.append(
            {
                "group": group,
                "expert": expert,
                "specialised": None if known is None else known["specialised"],
                "confirmed": None if derived is None else known is not None and bool(known["confirmed"]),
                **{name: plain(statistics.loc[expert, name]) if active else 0 for name in statistics},
                "top_tokens": top_tokens(run, group, expert, TOP_TOKENS) if active else [],
                "tags": list(item.tags),
                "notes": list(item.notes),
            }
        )
    return rows


def list_document(run: Run, name: str, description: str, items: pd.DataFrame) -> Document:
    """The report of a list, before it is written in a format.

    Args:
        run: the opened run.
        name: of the list.
        description: of the list; "" for none.
        items: of ``Notes.list_items``.

    Returns:
        The document. Its table has one row per expert; in its cells, tags and notes are one below the other.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.notes import open_notes
        >>> from workbench.report.list import list_document
        >>> run = open_run("runs/demo")
        >>> from workbench.store.address import Expert
        >>> strongest = Expert(0, int(run.experts(0)["mass"].idxmax()))
        >>> kept = open_notes(run).described([strongest])
        >>> list_document(run, "strong", "", kept).table.columns[:5].tolist()
        ['run', 'list', 'place', 'group', 'expert']
    """
    experts = listed_experts(run, items)
    content: dict[str, Any] = {
        "report": "list",
        "origin": origin(run),
        "name": name,
        "description": description,
        "experts": experts,
    }
    told = ("group", "expert", "specialised", "confirmed", "tokens", "mass", "max")
    rows = [
        {"run": content["origin"]["run"], "list": name, "place": place}
        | {column: row[column] for column in told}
        | {"confirmed": bool(row["confirmed"])}  # a column of truth values, whatever was analysed
        | {"top_tokens": " ".join(map(visible, row["top_tokens"]))}
        | {column: "\n".join(row[column]) for column in ("tags", "notes")}
        for place, row in enumerate(experts, start=1)
    ]
    columns = ["run", "list", "place", *told, "top_tokens", "tags", "notes"]
    return Document("list.html.j2", content, pd.DataFrame(rows, columns=columns))
