"""Lists of experts, in an order of their own; the bookmarks are one of them."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from ..errors import BadInputError, NotFoundError
from ..store.address import Expert
from .database import BOOKMARKS, items, lists
from .expert_notes import ExpertNotes, dated, now
from .texts import DESCRIPTION, NAME, check_unchanged, one_line, several_lines

MOST_EXPERTS = 1000  # of a list

# Asked for every page of an expert: to put a statement together takes longer than to run it.
_NAMES = select(lists.c.name).where(lists.c.name != BOOKMARKS).order_by(lists.c.name)
_LISTS_OF = (
    select(lists.c.name)
    .join(items)
    .where(items.c.group == bindparam("of_group"), items.c.expert == bindparam("of_expert"))
    .order_by(lists.c.name != BOOKMARKS, lists.c.name)
)


class Lists(ExpertNotes):
    """The part of ``Notes`` about lists."""

    def lists(self) -> pd.DataFrame:
        """Every list: the bookmarks first, then by name.

        Returns:
            Columns `name`, `description`, `experts` (how many) and `time` (UTC; missing for the bookmarks).
        """
        chosen = (
            select(lists.c.name, lists.c.description, func.count(items.c.list), lists.c.time)
            .outerjoin(items)
            .group_by(lists.c.id)
            .order_by(lists.c.name != BOOKMARKS, lists.c.name)
        )
        with self.reading() as connection:
            return dated(connection.execute(chosen), ("name", "description", "experts", "time"))

    def list_names(self) -> list[str]:
        """The names of all lists but the bookmarks, in alphabetical order."""
        with self.reading() as connection:
            return list(connection.execute(_NAMES).scalars())

    def create_list(self, name: str, description: str = "", experts: Iterable[Expert] = ()) -> str:
        """Make a list, of ``experts`` in their order if given.

        Args:
            name: at most 100 characters, on one line.
            description: at most 1,000 characters.
            experts: at most 1,000; repeated ones count once.

        Returns:
            Its name as it is kept.

        Raises:
            NotFoundError: the run has no such group or expert.
            BadInputError: a name that is taken, empty or too long; too many experts.

        Examples:
            >>> from shutil import copytree
            >>> from workbench import open_run
            >>> from workbench.notes import open_notes
            >>> notes = open_notes(open_run(copytree("runs/demo", "runs/noted", dirs_exist_ok=True)))
            >>> name = notes.create_list("loops", "Open or close a loop.", [(0, 17), (1, 5)])
            >>> notes.add_to_list(name, 0, 18)
            >>> notes.move(name, 0, 18, 0)
            >>> notes.list_items(name)[["group", "expert"]].values.tolist()
            [[0, 18], [0, 17], [1, 5]]
            >>> notes.delete_list(name)
            >>> notes.lists()["name"].tolist()
            ['bookmarks']
        """
        row = {
            "name": one_line("the name of the list", name, NAME),
            "description": several_lines("the description", description, DESCRIPTION, empty=True),
            "time": now(),
        }
        chosen = list(dict.fromkeys(self.expert(*expert) for expert in experts))
        with self.writing() as connection:
            _check_free(connection, row["name"])
            made = connection.execute(lists.insert(), row).inserted_primary_key
            assert made is not None
            _add(connection, made[0], row["name"], chosen)
        return row["name"]

    def add_to_list(self, name: str, group: int, expert: int) -> None:
        """Put an expert at the end of a list; one that is in it already stays where it is.

        Raises:
            NotFoundError: there is no such list, group or expert.
            BadInputError: the list is full.
        """
        self.extend_list(name, [Expert(group, expert)])

    def extend_list(self, name: str, experts: Iterable[Expert]) -> None:
        """Put several experts at the end of a list, all or none; see ``add_to_list``."""
        chosen = list(dict.fromkeys(self.expert(*expert) for expert in experts))
        with self.writing() as connection:
            _add(connection, _list_id(connection, name), name, chosen)

    def remove_from_list(self, name: str, group: int, expert: int) -> None:
        """Take an expert from a list, if it is in it.

        Raises:
            NotFoundError: there is no such list, group or expert.
        """
        of = self.expert(group, expert)
        with self.writing() as connection:
            known = (items.c.list == _list_id(connection, name)) & (items.c.group == of.group)
            connection.execute(delete(items).where(known, items.c.expert == of.id))

    def move(self, name: str, group: int, expert: int, to: int) -> None:
        """Move an expert of a list to another place.

        Args:
            name: of the list.
            group: number of the group.
            expert: flat id.
            to: its new place, from 0; beyond the end is the end.

        Raises:
            NotFoundError: there is no such list, or the expert is not in it.
            BadInputError: the place is negative.
        """
        if to < 0:
            raise BadInputError(f"there is no place {to} in a list; places count from 0.")
        of = self.expert(group, expert)
        with self.writing() as connection:
            number = _list_id(connection, name)
            order = _experts(connection, number)
            if of not in order:
                raise NotFoundError(f"expert {of} is not in the list {name!r}; it may have been removed.")
            order.remove(of)
            order.insert(to, of)
            connection.execute(delete(items).where(items.c.list == number))
            _append(connection, number, order, 0)

    def rename(self, name: str, new: str) -> str:
        """Give a list another name, and return it as it is kept.

        Raises:
            NotFoundError: there is no such list.
            BadInputError: the new name is taken, empty or too long; or the list is the bookmarks.
        """
        kept = one_line("the name of the list", new, NAME)
        _refuse_bookmarks(name, "renamed")
        with self.writing() as connection:
            number = _list_id(connection, name)
            if kept != name:
                _check_free(connection, kept)
            connection.execute(update(lists).where(lists.c.id == number).values(name=kept))
        return kept

    def describe(self, name: str, description: str, known: str) -> str:
        """Give a list another description, and return it as it is kept.

        Args:
            name: of the list.
            description: at most 1,000 characters; "" for none.
            known: the description that it replaces, as ``description`` returned it.

        Raises:
            NotFoundError: there is no such list.
            BadInputError: the description is too long, or has characters that cannot be kept; or it was changed
                meanwhile, and is no longer ``known``.

        Examples:
            >>> from shutil import copytree
            >>> from workbench import open_run
            >>> from workbench.notes import open_notes
            >>> notes = open_notes(open_run(copytree("runs/demo", "runs/noted", dirs_exist_ok=True)))
            >>> name = notes.create_list("ends", "Close a loop.")
            >>> notes.describe(name, "Close a loop or a block.", "Close a loop.")
            'Close a loop or a block.'
            >>> notes.delete_list(name)
        """
        kept = several_lines("the description", description, DESCRIPTION, empty=True)
        with self.writing() as connection:
            number = _list_id(connection, name)
            current = connection.execute(select(lists.c.description).where(lists.c.id == number)).scalar()
            check_unchanged("the description", str(current), known, kept)
            connection.execute(update(lists).where(lists.c.id == number).values(description=kept))
        return kept

    def delete_list(self, name: str) -> None:
        """Forget a list; notes and tags of its experts stay.

        Raises:
            NotFoundError: there is no such list.
            BadInputError: the list is the bookmarks.
        """
        _refuse_bookmarks(name, "deleted")
        with self.writing() as connection:
            connection.execute(delete(lists).where(lists.c.id == _list_id(connection, name)))

    def description(self, name: str) -> str:
        """The description of a list; "" where it has none.

        Raises:
            NotFoundError: there is no such list.
        """
        with self.reading() as connection:
            chosen = select(lists.c.description).where(lists.c.id == _list_id(connection, name))
            return str(connection.execute(chosen).scalar())

    def list_experts(self, name: str) -> list[Expert]:
        """The experts of a list, in its order.

        Raises:
            NotFoundError: there is no such list.
        """
        with self.reading() as connection:
            return _experts(connection, _list_id(connection, name))

    def list_items(self, name: str) -> pd.DataFrame:
        """The experts of a list in its order, with what is kept about them.

        Returns:
            One row per expert; columns as ``described``.

        Raises:
            NotFoundError: there is no such list.
        """
        return self.described(self.list_experts(name))

    def lists_of(self, group: int, expert: int) -> list[str]:
        """The names of the lists that an expert is in, in the order of ``lists``.

        Raises:
            NotFoundError: the run has no such group or expert.
        """
        of = self.expert(group, expert)
        with self.reading() as connection:
            return list(connection.execute(_LISTS_OF, {"of_group": of.group, "of_expert": of.id}).scalars())


def _list_id(connection: Connection, name: str) -> int:
    number = connection.execute(select(lists.c.id).where(lists.c.name == name)).scalar()
    if number is None:
        raise NotFoundError(f"there is no list {name!r}; it may have been renamed or deleted.")
    return int(number)


def _check_free(connection: Connection, name: str) -> None:
    if connection.execute(select(lists.c.id).where(lists.c.name == name)).scalar() is not None:
        raise BadInputError(f"there is a list {name!r} already; choose another name, or add to it.")


def _refuse_bookmarks(name: str, done: str) -> None:
    if name == BOOKMARKS:
        raise BadInputError(f"the bookmarks cannot be {done}; make a list of your own, or remove experts from them.")


def _experts(connection: Connection, number: int) -> list[Expert]:
    chosen = select(items.c.group, items.c.expert).where(items.c.list == number).order_by(items.c.place)
    return [Expert(*row) for row in connection.execute(chosen)]


def _add(connection: Connection, number: int, name: str, experts: list[Expert]) -> None:
    """Append the experts that a list lacks."""
    known = _experts(connection, number)
    new = [expert for expert in experts if expert not in set(known)]
    if len(known) + len(new) > MOST_EXPERTS:
        raise BadInputError(f"the list {name!r} would have {len(known) + len(new):,} experts; the limit is 1,000.")
    last = connection.execute(select(func.max(items.c.place)).where(items.c.list == number)).scalar()
    _append(connection, number, new, 0 if last is None else last + 1)


def _append(connection: Connection, number: int, experts: list[Expert], first: int) -> None:
    rows = [
        {"list": number, "group": of.group, "expert": of.id, "place": place}
        for place, of in enumerate(experts, start=first)
    ]
    if rows:
        connection.execute(insert(items), rows)
