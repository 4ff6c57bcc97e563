"""Saved circuits: the address of one, thresholds, pins, folds and ablations with it, under a name."""

from __future__ import annotations

import pandas as pd
from sqlalchemy import Column, Connection, MetaData, Table, Text, delete, inspect, select

from ..errors import BadInputError, NotFoundError
from .expert_notes import dated, now
from .lists import Lists
from .texts import NAME, one_line

LONGEST = 32_000  # characters of an address

# A table of its own, made when a circuit is first saved: a file of notes from before has none.
circuits = Table(
    "circuits",
    MetaData(),
    Column("name", Text, primary_key=True),
    Column("query", Text, nullable=False),
    Column("time", Text, nullable=False),
)


class Circuits(Lists):
    """Circuits of a run, by name."""

    def save_circuit(self, name: str, query: str) -> str:
        """Keep a circuit.

        Args:
            name: at most 100 characters, on one line.
            query: the query of its address, such as ``?text=public+static&pin=logit``.

        Returns:
            Its name as it is kept.

        Raises:
            BadInputError: a name that is taken, empty or too long; an address that is.

        Examples:
            >>> from shutil import copytree
            >>> from workbench import open_run
            >>> from workbench.notes import open_notes
            >>> notes = open_notes(open_run(copytree("runs/demo", "runs/noted", dirs_exist_ok=True)))
            >>> name = notes.save_circuit("void", "?text=public+static&keep=0.5")
            >>> notes.circuits()["name"].tolist()
            ['void']
            >>> notes.delete_circuit(name)
        """
        row = {
            "name": one_line("the name of the circuit", name, NAME),
            "query": one_line("the address of the circuit", query, LONGEST),
            "time": now(),
        }
        with self.writing() as connection:
            circuits.create(connection, checkfirst=True)
            if connection.execute(select(circuits.c.name).where(circuits.c.name == row["name"])).scalar() is not None:
                raise BadInputError(f"there is a circuit {row['name']!r} already; choose another name.")
            connection.execute(circuits.insert(), row)
        return row["name"]

    def circuits(self) -> pd.DataFrame:
        """The saved circuits by name: columns `name`, `query` and `time` (UTC)."""
        columns = ("name", "query", "time")
        with self.reading() as connection:
            chosen = select(circuits).order_by(circuits.c.name)
            return dated(connection.execute(chosen) if _made(connection) else (), columns)

    def delete_circuit(self, name: str) -> None:
        """Forget a saved circuit.

        Raises:
            NotFoundError: there is none of that name.
        """
        with self.writing() as connection:
            gone = _made(connection) and connection.execute(delete(circuits).where(circuits.c.name == name)).rowcount
            if not gone:
                raise NotFoundError(f"there is no circuit {name!r}; it may have been deleted already.")


def _made(connection: Connection) -> bool:
    return inspect(connection).has_table(circuits.name)
