"""What pages derive from files that an analysis may write anew: made once, and again when a file has changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")
Stamp = tuple[int, int, int]
NONE: Stamp = (0, 0, 0)


def stamp_of(path: Path) -> Stamp:
    """Changes when a file is written anew; ``NONE`` where there is none."""
    if not path.is_file():
        return NONE
    known = path.stat()
    return known.st_mtime_ns, known.st_size, getattr(known, "st_ino", 0)


class Derived:
    """Values by name, each with the stamp of the file that it was made from; those asked for longest ago go first.

    Args:
        most: how many are kept.

    Examples:
        >>> from workbench.dashboard.derived import Derived
        >>> derived = Derived(most=8)
        >>> derived.get("twice", (1, 0, 0), lambda: 2), derived.get("twice", (1, 0, 0), lambda: 3)
        (2, 2)
        >>> derived.get("twice", (4, 0, 0), lambda: 3)
        3
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._known: OrderedDict[Hashable, tuple[Stamp, Any]] = OrderedDict()

    def get(self, name: Hashable, stamp: Stamp, make: Callable[[], T]) -> T:
        """The value of a name: the one kept, if it has this stamp.

        Args:
            name: of the value, with all it depends on beside the file.
            stamp: of the file, taken before ``make`` reads it, so that nothing older is kept under it.
            make: makes the value.
        """
        with self._lock:
            kept = self._known.get(name)
            if kept is not None and kept[0] == stamp:
                self._known.move_to_end(name)
                found: T = kept[1]
                return found
        made = make()
        with self._lock:
            self._known[name] = stamp, made
            self._known.move_to_end(name)
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return made
