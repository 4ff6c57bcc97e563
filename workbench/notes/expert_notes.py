"""Notes and tags of single experts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import pandas as pd
from sqlalchemy import BindParameter, Row, bindparam, delete, func, select, tuple_, update
from sqlalchemy.dialects.sqlite import insert

from ..errors import NotFoundError
from ..store.address import Expert
from .database import Database, notes, tags
from .texts import AUTHOR, NOTE, TAG, check_unchanged, one_line, several_lines

_NOTE = ("id", "group", "expert", "text", "author", "time")

# Asked for every page of an expert: to put a statement together takes longer than to run it.
_GROUP: BindParameter[int] = bindparam("of_group")
_EXPERT: BindParameter[int] = bindparam("of_expert")
_TAGS_OF = select(tags.c.tag).where(tags.c.group == _GROUP, tags.c.expert == _EXPERT).order_by(tags.c.tag)
_TAG_NAMES = select(tags.c.tag).distinct().order_by(tags.c.tag)
_ANY_NOTE_OF = select(notes.c.id).where(notes.c.group == _GROUP, notes.c.expert == _EXPERT).limit(1)


def now() -> str:
    """The time as it is kept: ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def dated(rows: Iterable[Row], columns: Iterable[str]) -> pd.DataFrame:  # type: ignore[type-arg]  # rows of any columns
    """Rows as a table whose column ``time`` holds times of pandas."""
    table = pd.DataFrame([tuple(row) for row in rows], columns=list(columns))
    return table.assign(time=pd.to_datetime(table["time"], utc=True, format="ISO8601"))


def _no_note(note: int) -> NotFoundError:
    return NotFoundError(f"there is no note {note}; it may have been deleted already.")


class ExpertNotes(Database):
    """The part of ``Notes`` about single experts."""

    def expert(self, group: int, expert: int) -> Expert:
        """The expert, if the run has it.

        Raises:
            NotFoundError: the run has no such group or expert.
        """
        return Expert(self.run.check_group(group), self.run.check_expert(expert))

    def add_note(self, group: int, expert: int, text: str, author: str = "") -> int:
        """Keep a note about an expert.

        Args:
            group: number of the group.
            expert: flat id.
            text: at most 10,000 characters.
            author: who writes it; "" for nobody in particular.

        Returns:
            The note's id.

        Raises:
            NotFoundError: the run has no such group or expert.
            BadInputError: the text is empty, too long, or has characters that cannot be kept.

        Examples:
            >>> from shutil import copytree
            >>> from workbench import open_run
            >>> from workbench.notes import open_notes
            >>> notes = open_notes(open_run(copytree("runs/demo", "runs/noted", dirs_exist_ok=True)))
            >>> number = notes.add_note(0, 1234, "Opens a loop.", author="Ada")
            >>> notes.notes_of(0, 1234)[["text", "author"]].values.tolist()
            [['Opens a loop.', 'Ada']]
            >>> notes.delete_note(number)
            >>> len(notes.notes_of(0, 1234))
            0
        """
        of = self.expert(group, expert)
        row = {
            "group": of.group,
            "expert": of.id,
            "text": several_lines("the note", text, NOTE),
            "author": one_line("the author", author, AUTHOR, empty=True),
            "time": now(),
        }
        with self.writing() as connection:
            made = connection.execute(notes.insert(), row).inserted_primary_key
        assert made is not None
        return int(made[0])

    def notes_of(self, group: int, expert: int) -> pd.DataFrame:
        """The notes about an expert, oldest first.

        Returns:
            One row per note; columns `id`, `group`, `expert`, `text`, `author` ("" for nobody) and `time` (UTC).

        Raises:
            NotFoundError: the run has no such group or expert.
        """
        of = self.expert(group, expert)
        chosen = select(*(notes.c[name] for name in _NOTE)).where(notes.c.group == of.group, notes.c.expert == of.id)
        with self.reading() as connection:
            return dated(connection.execute(chosen.order_by(notes.c.id)), _NOTE)

    def recent_notes(self, n: int = 20) -> pd.DataFrame:
        """The last ``n`` notes about any expert, newest first; columns as ``notes_of``."""
        chosen = select(*(notes.c[name] for name in _NOTE)).order_by(notes.c.id.desc()).limit(n)
        with self.reading() as connection:
            return dated(connection.execute(chosen), _NOTE)

    def change_note(self, note: int, text: str, known: str) -> str:
        """Write a note anew, and return its text as it is kept; its author stays, its time is that of the change.

        Args:
            note: its id.
            text: at most 10,000 characters.
            known: the text that it replaces, as ``notes_of`` has it.

        Raises:
            NotFoundError: there is none of that id.
            BadInputError: the text is empty, too long, or has characters that cannot be kept; or the note was changed
                meanwhile, and is no longer ``known``.

        Examples:
            >>> from shutil import copytree
            >>> from workbench import open_run
            >>> from workbench.notes import open_notes
            >>> notes = open_notes(open_run(copytree("runs/demo", "runs/noted", dirs_exist_ok=True)))
            >>> number = notes.add_note(0, 1234, "Opens a lop.")
            >>> notes.change_note(number, "Opens a loop.", "Opens a lop.")
            'Opens a loop.'
            >>> notes.delete_note(number)
        """
        kept = several_lines("the note", text, NOTE)
        with self.writing() as connection:
            current = connection.execute(select(notes.c.text).where(notes.c.id == note)).scalar()
            if current is None:
                raise _no_note(note)
            check_unchanged("the note", str(current), known, kept)
            if kept != current:
                connection.execute(update(notes).where(notes.c.id == note).values(text=kept, time=now()))
        return kept

    def delete_note(self, note: int) -> None:
        """Forget a note.

        Raises:
            NotFoundError: there is none of that id.
        """
        with self.writing() as connection:
            if not connection.execute(delete(notes).where(notes.c.id == note)).rowcount:
                raise _no_note(note)

    def tag(self, group: int, expert: int, tag: str) -> None:
        """Give an expert a tag; one that it has already stays.

        Args:
            group: number of the group.
            expert: flat id.
            tag: at most 60 characters, on one line.

        Raises:
            NotFoundError: the run has no such group or expert.
            BadInputError: the tag is empty, too long, or has characters that cannot be kept.

        Examples:
            >>> from shutil import copytree
            >>> from workbench import open_run
            >>> from workbench.notes import open_notes
            >>> notes = open_notes(open_run(copytree("runs/demo", "runs/noted", dirs_exist_ok=True)))
            >>> notes.tag(0, 1234, "loops")
            >>> notes.tags(0, 1234), notes.tagged("loops")
            (['loops'], [Expert(group=0, id=1234)])
            >>> notes.untag(0, 1234, "loops")
            >>> notes.tags(0, 1234)
            []
        """
        of = self.expert(group, expert)
        row = {"group": of.group, "expert": of.id, "tag": one_line("the tag", tag, TAG)}
        with self.writing() as connection:
            connection.execute(insert(tags).values(row).on_conflict_do_nothing())

    def untag(self, group: int, expert: int, tag: str) -> None:
        """Take a tag from an expert, if it has it.

        Raises:
            NotFoundError: the run has no such group or expert.
        """
        of = self.expert(group, expert)
        named = (tags.c.group == of.group) & (tags.c.expert == of.id) & (tags.c.tag == tag)
        with self.writing() as connection:
            connection.execute(delete(tags).where(named))

    def tags(self, group: int, expert: int) -> list[str]:
        """The tags of an expert, in alphabetical order.

        Raises:
            NotFoundError: the run has no such group or expert.
        """
        of = self.expert(group, expert)
        with self.reading() as connection:
            return list(connection.execute(_TAGS_OF, {"of_group": of.group, "of_expert": of.id}).scalars())

    def all_tags(self) -> pd.DataFrame:
        """Every tag in use, in alphabetical order: columns `tag` and `experts`, how many have it."""
        chosen = select(tags.c.tag, func.count()).group_by(tags.c.tag).order_by(tags.c.tag)
        with self.reading() as connection:
            return pd.DataFrame([tuple(row) for row in connection.execute(chosen)], columns=["tag", "experts"])

    def tag_names(self) -> list[str]:
        """Every tag in use, in alphabetical order."""
        with self.reading() as connection:
            return list(connection.execute(_TAG_NAMES).scalars())

    def has_notes(self, group: int, expert: int) -> bool:
        """Whether there is a note about an expert.

        Raises:
            NotFoundError: the run has no such group or expert.
        """
        of = self.expert(group, expert)
        with self.reading() as connection:
            named = {"of_group": of.group, "of_expert": of.id}
            return connection.execute(_ANY_NOTE_OF, named).scalar() is not None

    def tagged(self, tag: str) -> list[Expert]:
        """The experts that have a tag, by group and id."""
        chosen = select(tags.c.group, tags.c.expert).where(tags.c.tag == tag).order_by(tags.c.group, tags.c.expert)
        with self.reading() as connection:
            return [Expert(*row) for row in connection.execute(chosen)]

    def described(self, experts: Iterable[Expert]) -> pd.DataFrame:
        """What is kept about some experts, in their order.

        Returns:
            One row per expert; columns `group`, `expert`, `tags` and `notes`: lists of texts, notes oldest first.
        """
        listed = list(experts)
        kept: dict[Expert, dict[str, list[str]]] = {of: {"tags": [], "notes": []} for of in listed}
        with self.reading() as connection:
            for kind, name, order in ((tags, "tag", tags.c.tag), (notes, "text", notes.c.id)):
                known = tuple_(kind.c.group, kind.c.expert).in_(listed)
                chosen = select(kind.c.group, kind.c.expert, kind.c[name]).where(known).order_by(order)
                for group, expert, text in connection.execute(chosen):
                    kept[Expert(group, expert)][kind.name].append(text)
        rows = [{"group": of.group, "expert": of.id, **kept[of]} for of in listed]
        return pd.DataFrame(rows, columns=["group", "expert", "tags", "notes"])
