"""The report of a list of experts: what each is, explained and by example, and the tags and notes kept about it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..store.address import Expert
from ..store.token_text import joined, visible
from .expert import examples
from .explained import best_explanations
from .files import Document, plain
from .label import top_tokens
from .origin import analysis, origin

if TYPE_CHECKING:
    from ..store import Run

TOP_TOKENS = 8
EXAMPLES = 3


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
        The document. Its table has one row per expert; in its cells, tags, notes and examples are one below the other,
        in an example the expert's token stands between « and ».

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
    explained = best_explanations(run)
    experts = [row | _shown(run, row, explained) for row in listed_experts(run, items)]
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
        | {"explanation": row["explanation"]}
        | {column: "\n".join(row[column]) for column in ("tags", "notes")}
        | {"examples": "\n".join(map(_line, row["examples"]))}
        for place, row in enumerate(experts, start=1)
    ]
    columns = ["run", "list", "place", *told, "top_tokens", "explanation", "tags", "notes", "examples"]
    return Document("list.html.j2", content, pd.DataFrame(rows, columns=columns))


def _shown(run: Run, row: dict[str, Any], explained: dict[tuple[int, int], str]) -> dict[str, Any]:
    """An expert's explanation, "" for none, and its best examples, as JSON types."""
    expert = Expert(row["group"], row["expert"])
    best = examples(run, expert, EXAMPLES) if row["tokens"] else []
    return {"explanation": explained.get(expert, ""), "examples": [*map(asdict, best)]}


def _line(example: dict[str, Any]) -> str:
    """An example in one line, with blanks and controls shown."""
    texts, at = example["texts"], example["at"]
    parts = (joined(texts[:at]), "«", texts[at], "»", joined(texts[at + 1 :]))
    return "".join(map(visible, parts))
