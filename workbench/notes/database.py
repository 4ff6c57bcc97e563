"""The database of a run's notes: one SQLite file beside the run's folder, which several servers may write at once.

The file is made when something is kept for the first time. A connection lives for one short transaction: one that
writes takes the file for itself at its start and waits for its turn, so what it has read still holds when it writes.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    select,
)
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool, Pool, SingletonThreadPool

from ..errors import DamagedError, UnsupportedError
from ..store.remote import Remote
from ..store.schema import TEMPORARY

if TYPE_CHECKING:
    from ..store import Run

VERSION = 1  # of the tables; kept as SQLite's user_version
SUFFIX = ".notes.sqlite"
PATIENCE = 10.0  # seconds to wait for another writer
BOOKMARKS = "bookmarks"  # the list that is always there

_metadata = MetaData()


def _expert(key: bool = False) -> tuple[Column[int], Column[int]]:
    """The columns that name an expert."""
    group, expert = (
        Column(name, Integer, primary_key=key, nullable=False, autoincrement=False) for name in ("group", "expert")
    )
    return group, expert


about = Table("about", _metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))
notes = Table(
    "notes",
    _metadata,
    Column("id", Integer, primary_key=True),
    *_expert(),
    Column("text", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("time", Text, nullable=False),
    sqlite_autoincrement=True,  # a deleted note's number is not given to another
)
tags = Table("tags", _metadata, *_expert(key=True), Column("tag", Text, primary_key=True))
lists = Table(
    "lists",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("description", Text, nullable=False),
    Column("time", Text, nullable=False),
)
items = Table(
    "items",
    _metadata,
    Column("list", ForeignKey("lists.id", ondelete="CASCADE"), primary_key=True),
    *_expert(key=True),
    Column("place", Integer, nullable=False),
)
edits = Table(
    "edits",
    _metadata,
    Column("name", Text, primary_key=True),
    Column("edit", Text, nullable=False),
    Column("time", Text, nullable=False),
)
_MODEL = select(about.c.value).where(about.c.name == "model")


class Database:
    """The file beside a run, and its transactions.

    Attributes:
        run: the opened run.
        path: the file; it does not exist until something is kept.

    Raises:
        UnsupportedError: the run is on another machine.
    """

    def __init__(self, run: Run) -> None:
        if isinstance(run.path, Remote):
            raise UnsupportedError(
                f"notes are kept beside a run on this machine, and {run.path} is elsewhere; copy the run to keep notes."
            )
        folder = Path(run.path).resolve()
        self.run = run
        self.path = folder.with_name(folder.name + SUFFIX)
        self._open = threading.local()  # the transaction that the thread reads in
        self._model = json.dumps(run.manifest["model"]["hash"], sort_keys=True)
        self._engine = _engine(
            lambda: sqlite3.connect(f"{self.path.as_uri()}?mode=rw", uri=True, timeout=PATIENCE, isolation_level=None),
            NullPool,  # each transaction connects anew, so that threads share nothing and a replaced file is seen
        )

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that reads; before anything was kept, of a database that is empty. Inside one of the same
        thread, it is that one.

        Raises:
            DamagedError: the file is no database, or a damaged one.
            UnsupportedError: it is of another schema version or about another model, or cannot be read.
        """
        if (outer := getattr(self._open, "connection", None)) is not None:
            yield outer
            return
        with self._told(), (self._engine if self.path.exists() else self._empty).begin() as connection:
            self._check(connection)
            self._open.connection = connection
            try:
                yield connection
            finally:
                self._open.connection = None

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes, all or nothing, one at a time.

        Raises:
            DamagedError: the file is no database, or a damaged one.
            UnsupportedError: as ``reading``, or the file cannot be written.
        """
        with self._told():
            if not self.path.exists():
                self._create()
            with self._engine.execution_options(writes=True).begin() as connection:
                self._check(connection)
                yield connection

    def _check(self, connection: Connection) -> None:
        version = connection.exec_driver_sql("PRAGMA user_version").scalar()
        if version != VERSION:
            raise UnsupportedError(
                f"{self.path} has schema version {version}, and this workbench reads {VERSION}; use the workbench that "
                "wrote it, or move the file away to begin anew."
            )
        if connection.execute(_MODEL).scalar() != self._model:
            raise UnsupportedError(
                f"{self.path} is about the experts of another model than the run {self.run.path} was exported from; "
                "move the file away to begin anew."
            )

    def _fill(self, engine: Engine) -> None:
        """Make the tables, with what a fresh database holds."""
        with engine.begin() as connection:
            _metadata.create_all(connection)
            connection.execute(about.insert(), {"name": "model", "value": self._model})
            connection.execute(lists.insert(), {"name": BOOKMARKS, "description": "", "time": ""})
            connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")

    @cached_property
    def _empty(self) -> Engine:
        """A database in memory that holds what a fresh one does; each thread has a copy of its own, and only reads."""
        fresh = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        filling = create_engine("sqlite://", creator=lambda: fresh)
        event.listen(filling, "begin", _begin)
        self._fill(filling)

        def copy() -> sqlite3.Connection:
            memory = sqlite3.connect(":memory:", isolation_level=None)
            fresh.backup(memory)
            return memory

        return _engine(copy, SingletonThreadPool)

    def _create(self) -> None:
        """Make the file, whole before others see it; where two make it at once, the first one's stays."""
        made = self.path.with_name(f"{self.path.name}-{uuid4().hex}{TEMPORARY}")
        try:
            with closing(sqlite3.connect(made)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")  # readers and a writer do not wait for each other
            self._fill(_engine(lambda: sqlite3.connect(made, isolation_level=None), NullPool))
            with suppress(FileExistsError):
                os.link(made, self.path)
        finally:
            made.unlink(missing_ok=True)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong with the file, in words."""
        try:
            yield
        except (OperationalError, sqlite3.OperationalError, OSError) as error:
            why = getattr(error, "orig", None) or error
            raise UnsupportedError(f"the notes in {self.path} cannot be read or written now: {why}.") from error
        except DatabaseError as error:
            raise DamagedError(
                f"{self.path} is no database of notes, or a damaged one ({error.orig}); move it away to begin anew."
            ) from error


def _engine(connect: Callable[[], sqlite3.Connection], pool: type[Pool]) -> Engine:
    engine = create_engine("sqlite://", creator=connect, poolclass=pool)
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys = ON"))
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
