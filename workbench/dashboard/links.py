"""The addresses that the dashboard writes, all of them, so that every view can be shared as a URL.

Addresses are read by the pages' own paths: see ``workbench.dashboard.pages.read_address``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

EXPERT_PATH = "/expert/{group}/{expert}"
LABEL_PATH = "/labels/{label}"
PROMPT_PATH = "/prompt"
MASK_PATH = "/mask"
STRUCTURE_PATH = "/structure"
EXPLANATIONS_PATH = "/explanations"
GLOSSARY_PATH = "/glossary"
EXPERT_FILE = "/download/expert/<group>/<expert>.<kind>"  # as Flask writes routes
LABEL_FILE = "/download/label.<kind>"
TEXT_FILE = "/download/text.<kind>"


@dataclass(frozen=True)
class Address:
    """A page and what it was asked for.

    Attributes:
        page: name of the page; "" where there is none.
        parts: the variable parts of the path, decoded; the path itself where there is no page.
        query: the last value of each query field, decoded.
    """

    page: str
    parts: tuple[str, ...] = ()
    query: dict[str, str] = field(default_factory=dict)


def _search(fields: Mapping[str, object]) -> str:
    return "?" + urlencode(fields) if fields else ""


def overview_link(group: int | None = None, label: str | None = None) -> str:
    """Address of the map of a group, with one label highlighted if given."""
    return "/" + _search({name: value for name, value in (("group", group), ("label", label)) if value is not None})


def expert_link(group: int, expert: int, **query: object) -> str:
    """Address of an expert's page."""
    return EXPERT_PATH.format(group=group, expert=expert) + _search(query)


def expert_template(group: int) -> str:
    """Address of a group's experts for scripts in the browser, which put an id in place of ``{expert}``."""
    return EXPERT_PATH.replace("{group}", str(group))


def label_link(label: str, group: int | None = None) -> str:
    """Address of a label's page, of one group if given."""
    return LABEL_PATH.format(label=quote(label, safe="")) + _search({} if group is None else {"group": group})


def mask_link(perplexity: bool = False) -> str:
    """Address of the masking matrix, as the rise in loss or as perplexities."""
    return MASK_PATH + _search({"show": "perplexity"} if perplexity else {})


def structure_link(group: int) -> str:
    """Address of the structure page with the map of a group."""
    return STRUCTURE_PATH + _search({"group": group})


def explanations_link(query: str = "") -> str:
    """Address of the explanations, of those that contain a text if given."""
    return EXPLANATIONS_PATH + _search({"q": query} if query else {})


def glossary_link(term: str = "") -> str:
    """Address of the glossary, at a term if given."""
    return GLOSSARY_PATH + (f"#{anchor(term)}" if term else "")


def anchor(term: str) -> str:
    """Id of a term in the glossary."""
    return term.lower().replace(" ", "-")


def prompt_search(text: str, target: int | None = None, edit: Mapping[str, str] | None = None) -> str:
    """Query string that holds a prompt, the next token to explain if one is chosen, and fields of an edit."""
    return _search({"text": text} | ({"target": target} if target is not None else {}) | dict(edit or {}))


def prompt_link(text: str, target: int | None = None, edit: Mapping[str, str] | None = None) -> str:
    """Address of a prompt: see ``prompt_search``."""
    return PROMPT_PATH + prompt_search(text, target, edit)


def expert_file(group: int, expert: int, kind: str) -> str:
    """Address of an expert's report as a file."""
    return _file(EXPERT_FILE, group=group, expert=expert, kind=kind)


def label_file(label: str, kind: str) -> str:
    """Address of a label's report as a file."""
    return _file(LABEL_FILE, kind=kind) + _search({"label": label})


def text_file(text: str, kind: str) -> str:
    """Address of a text's report as a file."""
    return _file(TEXT_FILE, kind=kind) + prompt_search(text)


def _file(route: str, **parts: object) -> str:
    for name, value in parts.items():
        route = route.replace(f"<{name}>", str(value))
    return route
