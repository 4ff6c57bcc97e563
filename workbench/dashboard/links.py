"""Addresses of the dashboard's pages, written and read in one place, so that every view can be shared as a URL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, unquote, urlencode


@dataclass(frozen=True)
class Address:
    """A page and what it was asked for.

    Attributes:
        page: a name of :data:`_PATHS`, or ``missing``.
        parts: the variable parts of the path, decoded.
        query: the last value of each query field, decoded.
    """

    page: str
    parts: tuple[str, ...] = ()
    query: dict[str, str] = field(default_factory=dict)


_PATHS = {
    "overview": re.compile(r"/?"),
    "expert": re.compile(r"/expert/([^/]+)/([^/]+)/?"),
    "prompt": re.compile(r"/prompt/?"),
    "mask": re.compile(r"/mask/?"),
    "label": re.compile(r"/labels/([^/]+)/?"),
    "structure": re.compile(r"/structure/?"),
    "explanations": re.compile(r"/explanations/?"),
    "scores": re.compile(r"/scores/?"),
}


def read_address(pathname: str | None, search: str | None) -> Address:
    """The page an address names; ``missing`` for an unknown one."""
    path = pathname or "/"
    query = {name: values[-1] for name, values in parse_qs((search or "").lstrip("?"), keep_blank_values=True).items()}
    for page, pattern in _PATHS.items():
        if match := pattern.fullmatch(path):
            return Address(page, tuple(unquote(part) for part in match.groups()), query)
    return Address("missing", (unquote(path),), query)


def page_title(address: Address) -> str:
    """What the browser's tab calls a page."""
    if address.page == "expert":
        return f"Expert {':'.join(address.parts)}"
    if address.page == "label":
        return f"Label {address.parts[0]}"
    names = {"overview": "Experts", "prompt": "Prompt", "mask": "Masking"}
    names |= {"structure": "Structure", "explanations": "Explanations", "scores": "Scores"}
    return names.get(address.page, "Not found")


def overview_link(group: int = 0, label: str | None = None) -> str:
    """Address of the map of a group, with one label brought out if given."""
    return "/?" + urlencode({"group": group} | ({"label": label} if label is not None else {}))


def expert_link(group: int, expert: int) -> str:
    """Address of an expert's page."""
    return f"/expert/{group}/{expert}"


def label_link(label: str, group: int | None = None) -> str:
    """Address of a label's page, of one group if given."""
    return f"/labels/{quote(label, safe='')}" + ("" if group is None else f"?group={group}")


def explanations_link(query: str = "") -> str:
    """Address of the explanations, of those that hold some words if given."""
    return "/explanations" + ("?" + urlencode({"q": query}) if query else "")


def prompt_search(text: str, target: int | None = None, edit: Mapping[str, str] | None = None) -> str:
    """Query string that holds a prompt, the next token to explain if one is chosen, and fields of an edit."""
    return "?" + urlencode({"text": text} | ({"target": target} if target is not None else {}) | dict(edit or {}))


def expert_file(group: int, expert: int, kind: str) -> str:
    """Address of an expert's report as a file."""
    return f"/download/expert/{group}/{expert}.{kind}"


def label_file(label: str, kind: str) -> str:
    """Address of a label's report as a file."""
    return f"/download/label.{kind}?" + urlencode({"label": label})


def text_file(text: str, kind: str) -> str:
    """Address of a text's report as a file."""
    return f"/download/text.{kind}" + prompt_search(text)
