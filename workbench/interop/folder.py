"""Writing a folder so that it exists complete or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import BadInputError
from ..store.schema import TEMPORARY


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder beside ``path`` to fill; renamed to ``path`` at the end, removed on an exception.

    Raises:
        BadInputError: something exists at ``path``.
    """
    if path.exists():
        raise BadInputError(f"{path} exists; remove it or name another folder.")
    temporary = path.with_name(path.name + TEMPORARY)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
