"""Everything that is kept about the experts of a run, and saved edits of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from sqlalchemy import delete, select

from ..errors import BadInputError, NotFoundError
from ..store.edit_text import read_edit_text
from .circuits import Circuits
from .database import edits
from .expert_notes import dated, now
from .texts import NAME, one_line

if TYPE_CHECKING:
    from ..store import Run

_EDIT = ("name", "edit", "time")


def open_notes(run: Run) -> Notes:
    """What is kept about the experts of a run, in the file ``<run folder>.notes.sqlite`` beside it.

    Nothing is written until something is kept. Several programs may use the file at once.

    Raises:
        UnsupportedError: the run is on another machine.

    Examples:
        >>> from shutil import copytree
        >>> from workbench import open_run
        >>> from workbench.notes import open_notes
        >>> notes = open_notes(open_run(copytree("runs/demo", "runs/noted", dirs_exist_ok=True)))
        >>> notes.add_to_list("bookmarks", 0, 1234)
        >>> notes.path.name, notes.list_experts("bookmarks")
        ('noted.notes.sqlite', [Expert(group=0, id=1234)])
        >>> notes.remove_from_list("bookmarks", 0, 1234)
    """
    return Notes(run)


class Notes(Circuits):
    """Notes and tags of experts, lists, saved edits and circuits, as ``open_notes`` opens them; threads may share it.

    All methods raise DamagedError where the file is damaged, and UnsupportedError where it is of another schema
    version or about another model, or cannot be read or written.
    """

    def save_edit(self, name: str, edit: str) -> str:
        """Keep an edit.

        Args:
            name: at most 100 characters, on one line.
            edit: as the address of a prompt has it, such as ``0:17=0, label:lua=0.5``; a factor of 0 removes.

        Returns:
            Its name as it is kept.

        Raises:
            NotFoundError: the run has no such group, expert or label.
            BadInputError: a name that is taken, empty or too long; an edit that cannot be read, or edits nothing.

        Examples:
            >>> from shutil import copytree
            >>> from workbench import open_run
            >>> from workbench.notes import open_notes
            >>> notes = open_notes(open_run(copytree("runs/demo", "runs/noted", dirs_exist_ok=True)))
            >>> name = notes.save_edit("no loops", "0:17=0; 1:5=0.5")
            >>> notes.edits()[["name", "edit"]].values.tolist()
            [['no loops', '0:17=0, 1:5=0.5']]
            >>> notes.delete_edit(name)
        """
        read = read_edit_text(self.run, edit)
        if not read:
            raise BadInputError("the edit changes nothing; name experts as group:id=factor, or label:NAME=factor.")
        row = {"name": one_line("the name of the edit", name, NAME), "edit": str(read), "time": now()}
        with self.writing() as connection:
            if connection.execute(select(edits.c.name).where(edits.c.name == row["name"])).scalar() is not None:
                raise BadInputError(f"there is an edit {row['name']!r} already; choose another name.")
            connection.execute(edits.insert(), row)
        return row["name"]

    def edits(self) -> pd.DataFrame:
        """The saved edits by name: columns `name`, `edit` and `time` (UTC)."""
        with self.reading() as connection:
            chosen = select(*(edits.c[name] for name in _EDIT)).order_by(edits.c.name)
            return dated(connection.execute(chosen), _EDIT)

    def delete_edit(self, name: str) -> None:
        """Forget a saved edit.

        Raises:
            NotFoundError: there is none of that name.
        """
        with self.writing() as connection:
            if not connection.execute(delete(edits).where(edits.c.name == name)).rowcount:
                raise NotFoundError(f"there is no edit {name!r}; it may have been deleted already.")
