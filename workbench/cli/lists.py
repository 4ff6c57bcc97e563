"""The command that shows what is kept about a run."""

from __future__ import annotations

from typing import Annotated

import typer

from .output import Json, RunArgument, print_json, print_table


def list_command(
    run: RunArgument,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="a list; all lists if none is named")] = None,
    as_json: Json = False,
) -> None:
    """Show the lists of experts that people keep beside a run, or the experts of one list."""
    from .. import open_run
    from ..notes import open_notes
    from ..report.list import list_document

    opened = open_run(run)
    notes = open_notes(opened)
    if name is None:
        lists = notes.lists()[["name", "description", "experts"]]
        if as_json:
            print_json(lists.to_dict("records"))
        else:
            rows = [[row.name, row.description, f"{row.experts:,}"] for row in lists.itertuples(index=False)]
            print_table("Lists", ["list", "description", "experts"], rows)
        return
    document = list_document(opened, name, notes.description(name), notes.list_items(name))
    if as_json:
        print_json(document.content)
    else:
        told = [
            [
                f"{row['group']}:{row['expert']}",
                row["specialised"] or "–",
                "yes" if row["confirmed"] else "no",
                ", ".join(row["tags"]),
                " / ".join(row["notes"]),
            ]
            for row in document.content["experts"]
        ]
        print_table(f"List {name}", ["expert", "label", "confirmed", "tags", "notes"], told)
