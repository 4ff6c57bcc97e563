"""Labels as they are shown: in natural order, told apart, and in figures never taken for markup."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from ..store.token_text import visible_label

LONGEST = 32  # characters of a name on an axis or in a legend
_UNSEEN = ("Cf", "Co", "Cn")  # categories of Unicode of which no trace may show
_NUMBERS = re.compile("([0-9]+)")


def natural_key(label: str) -> tuple[list[tuple[int, str]], str]:
    """Sorts labels as people do: 2 before 10, and b between A and C."""
    pieces = _NUMBERS.split(label)  # text and digits by turns
    pieces[1::2] = [digits.lstrip("0") for digits in pieces[1::2]]
    return [(len(piece) if at % 2 else 0, piece.casefold()) for at, piece in enumerate(pieces)], label


def natural_order(labels: Iterable[str]) -> list[str]:
    """Labels in the order in which they are listed for people; ``run.labels`` stays as it is stored.

    Examples:
        >>> from workbench.report.labels import natural_order
        >>> natural_order(["10", "lua", "2", "1"])
        ['1', '2', '10', 'lua']
    """
    return sorted(labels, key=natural_key)


def look_alikes(labels: Iterable[str]) -> list[list[str]]:
    """Groups of labels that a reader takes for one: equal but for blanks, controls, capitals or Unicode's spelling.

    Examples:
        >>> from workbench.report.labels import look_alikes
        >>> look_alikes(["lua", "php", " lua", "Lua"])
        [[' lua', 'Lua', 'lua']]
    """
    groups: dict[str, list[str]] = {}
    for label in labels:
        kept = (c for c in unicodedata.normalize("NFKC", label) if unicodedata.category(c) not in _UNSEEN)
        groups.setdefault(" ".join("".join(kept).casefold().split()), []).append(label)
    return [natural_order(group) for group in groups.values() if len(group) > 1]


def plot_text(text: str) -> str:
    """``text`` for any place of a figure: plotly takes <b>, <br> or &lt;amp; there for markup, so they are escaped.

    Examples:
        >>> from workbench.report.labels import plot_text
        >>> plot_text("<b>x</b>")
        '&lt;b&gt;x&lt;/b&gt;'
    """
    return _escaped(visible_label(text))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def shortened(text: str, longest: int = LONGEST) -> str:
    """``text``, its middle left out where it is longer than ``longest``."""
    return text if len(text) <= longest else f"{text[: longest - longest // 3 - 1]}…{text[-(longest // 3) :]}"


def plot_labels(labels: Sequence[str]) -> list[str]:
    """Labels as categories of an axis or names of a legend: ``plot_text``, shortened, no two of them the same."""
    shown = [_escaped(shortened(visible_label(label))) for label in labels]
    total, seen, names = Counter(shown), Counter[str](), []
    for name in shown:
        seen[name] += 1
        names.append(f"{name} ({seen[name]})" if total[name] > 1 else name)
    return names
