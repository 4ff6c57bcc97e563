"""The addresses that the dashboard writes, all of them, so that every view can be shared as a URL.

Addresses are read by the pages' own paths: see ``workbench.dashboard.pages.read_address``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode

from flask import has_request_context, request

from ..store.address import path_part

EXPERT_PATH = "/expert/{group}/{expert}"
DOCUMENT_PATH = "/documents/{doc}"
LABEL_PATH = "/labels/{label}"
PROMPT_PATH = "/prompt"
MASK_PATH = "/mask"
STRUCTURE_PATH = "/structure"
SCORES_PATH = "/scores"
JOBS_PATH = "/jobs"
EXPLANATIONS_PATH = "/explanations"
GLOSSARY_PATH = "/glossary"
SEARCH_PATH = "/search"
LISTS_PATH = "/lists"
LIST_PATH = "/lists/{name}"
COMPARE_PATH = "/compare"
TRY, TOKENS = "try", "tokens"  # anchors on an expert's page
TOKENS_FIELDS = ("show", "n", "label", "source", "doc", "low", "high", "order", "page", TRY)  # of its address
LIST_FIELDS = ("filter", "sort")  # of the address of a list of experts, whatever its group
ALL_LABELS = "all-labels"  # anchor on the front page
EXPERT_FILE = "/download/expert/<group>/<expert>.<kind>"  # as Flask writes routes
HOVER_CARD = "/card/<group>/<expert>"
LABEL_FILE = "/download/label.<kind>"
TEXT_FILE = "/download/text.<kind>"
LIST_FILE = "/download/list.<kind>"
DIFF_FILE = "/download/diff.<kind>"
EXPERT_CARD = "/embed/expert/<group>/<expert>"
EDIT_FILE = "/download/edit.safetensors"


ATLAS_PATH = "/atlas"
KEY_PATH = "/keys/{group}/{key_set}/{key}"
ATLAS_CELLS = "/atlas/cells/<group>/<colour>"
ATLAS_EXPERT = "/atlas/expert/<group>/<expert>"
REGION_FILE = "/download/experts.csv"


CONTROL_PATH = "/control"
DIFF_PATH = "/diff"
OWNERSHIP_PATH = "/ownership"


CIRCUIT_PATH = "/circuit"
CIRCUIT_GRAPH = "/circuit/graph"
CIRCUIT_EDGES = "/circuit/edges/<node>"


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


def based(path: str) -> str:
    """A path as a browser asks for it: of a dashboard behind a proxy, below the path where the proxy has put it."""
    return (request.script_root if has_request_context() else "") + path


def overview_link(group: int | None = None, label: str | None = None, **listed: object) -> str:
    """Address of the map of a group, with one label highlighted if given; ``listed`` are fields of its list of experts,
    of which None leaves one out."""
    fields = {"group": group, "label": label} | listed
    return based("/" + _search({name: value for name, value in fields.items() if value is not None}))


def expert_link(group: int, expert: int, **query: object) -> str:
    """Address of an expert's page."""
    return based(EXPERT_PATH.format(group=group, expert=expert) + _search(query))


def tokens_link(group: int, expert: int, query: Mapping[str, str], **changes: object) -> str:
    """Address of the tokens on an expert's page: those of ``query`` with ``changes``, of which "" drops a field."""
    fields = {name: query[name] for name in TOKENS_FIELDS if name in query} | changes
    kept = {name: value for name, value in fields.items() if value != ""}
    return expert_link(group, expert, **kept) + f"#{TOKENS}"


def expert_template(group: int) -> str:
    """Address of a group's experts for scripts in the browser, which put an id in place of ``{expert}``."""
    return based(EXPERT_PATH.replace("{group}", str(group)))


def card_template(group: int) -> str:
    """Address of what the cards of a group's experts show, for scripts, which put an id in place of ``{expert}``."""
    return based(HOVER_CARD.replace("<group>", str(group)).replace("<expert>", "{expert}"))


def document_link(doc: int, expert: object = None, token: int | None = None, start: int | None = None) -> str:
    """Address of a document's page.

    Args:
        doc: number of the document.
        expert: whose scores shade its tokens, written group:id.
        token: token row to scroll to.
        start: first token shown, counted from 0 in the document.
    """
    fields = {"expert": expert, "token": token, "start": start}
    at = "" if token is None else f"#{token_anchor(token)}"
    asked = {name: value for name, value in fields.items() if value is not None}
    return based(DOCUMENT_PATH.format(doc=doc) + _search(asked) + at)


def token_anchor(row: int) -> str:
    """Id of a token row on its document's page."""
    return f"token-{row}"


def label_link(label: str, group: int | None = None, **listed: object) -> str:
    """Address of a label's page, of one group if given; ``listed`` as in ``overview_link``."""
    fields = {"group": group} | listed
    asked = {name: value for name, value in fields.items() if value is not None}
    return based(LABEL_PATH.format(label=path_part(label)) + _search(asked))


def all_labels_link() -> str:
    """Address of the list of all labels."""
    return based(f"/#{ALL_LABELS}")


def mask_link(perplexity: bool = False, removal: Mapping[str, str] | None = None) -> str:
    """Address of the masking matrix, as the rise in loss or as perplexities; ``removal`` are the fields of a choice."""
    return based(MASK_PATH + _search(dict(removal or {}) | ({"show": "perplexity"} if perplexity else {})))


def structure_link(group: int, colour: str | None = None) -> str:
    """Address of the structure page with the map of a group, in a colouring if given."""
    return based(STRUCTURE_PATH + _search({"group": group} | ({} if colour is None else {"colour": colour})))


def explanations_link(query: str = "", page: int = 1) -> str:
    """Address of the explanations, of those that say a text if given, at a page of them."""
    return based(EXPLANATIONS_PATH + _search(({"q": query} if query else {}) | ({} if page == 1 else {"page": page})))


def glossary_link(term: str = "") -> str:
    """Address of the glossary, at a term if given."""
    return based(GLOSSARY_PATH + (f"#{anchor(term)}" if term else ""))


def anchor(term: str) -> str:
    """Id of a term in the glossary."""
    return term.lower().replace(" ", "-")


def read_query(search: str | None) -> dict[str, str]:
    """The fields of a query string, the last of each name."""
    return {name: values[-1] for name, values in parse_qs((search or "").lstrip("?"), keep_blank_values=True).items()}


def prompt_search(query: Mapping[str, str], **changes: object) -> str:
    """Query string of a prompt page: the fields of ``query`` with ``changes``, of which None drops a field."""
    fields = {**query, **changes}
    return _search({name: value for name, value in fields.items() if value is not None})


def prompt_link(query: Mapping[str, str], **changes: object) -> str:
    """Address of a prompt page: see ``prompt_search``."""
    return based(PROMPT_PATH + prompt_search(query, **changes))


def search_link(query: str = "", kind: str = "", **choices: object) -> str:
    """Address of a search, of one kind if given, with choices of that kind, such as a group; None leaves one out."""
    fields = {"q": query or None, "kind": kind or None} | choices
    return based(SEARCH_PATH + _search({name: value for name, value in fields.items() if value is not None}))


def expert_file(group: int, expert: int, kind: str) -> str:
    """Address of an expert's report as a file."""
    return _file(EXPERT_FILE, group=group, expert=expert, kind=kind)


def label_file(label: str, kind: str) -> str:
    """Address of a label's report as a file."""
    return _file(LABEL_FILE, kind=kind) + _search({"label": label})


def text_file(fields: Mapping[str, str], kind: str) -> str:
    """Address of a text's report as a file; ``fields`` of the prompt page say what the model reads, and any edit."""
    return _file(TEXT_FILE, kind=kind) + _search(fields)


def edit_file(query: Mapping[str, str]) -> str:
    """Address of the edit of a prompt page's query as a file that ``ExpertEdit.load`` reads."""
    return based(
        EDIT_FILE + _search({name: query[name] for name in ("text", "chat", "edit", "without") if name in query})
    )


def lists_link() -> str:
    """Address of the lists, notes, tags and saved edits."""
    return based(LISTS_PATH)


def list_link(name: str, page: int = 1) -> str:
    """Address of a list, at a page of its experts."""
    return based(LIST_PATH.format(name=path_part(name)) + _search({} if page == 1 else {"page": page}))


def shared_list_link(name: str, experts: Iterable[tuple[int, int]]) -> str:
    """Address that holds a list by content, to be read by whoever lacks it."""
    listed = ",".join(f"{group}:{expert}" for group, expert in experts)
    return based(f"{LISTS_PATH}?experts={listed}&{urlencode({'name': name})}")


def tag_link(tag: str) -> str:
    """Address of the experts that have a tag."""
    return based(LISTS_PATH + _search({"tag": tag}))


def edit_link(edit: Mapping[str, str]) -> str:
    """Address of the prompt page with the fields of an edit filled in, and no prompt yet."""
    return based(PROMPT_PATH + _search(edit))


def list_file(name: str, kind: str) -> str:
    """Address of a list's report as a file."""
    return _file(LIST_FILE, kind=kind) + _search({"list": name})


def expert_card_link(group: int, expert: int) -> str:
    """Address of an expert's card, to show inside another page."""
    return _file(EXPERT_CARD, group=group, expert=expert)


def _file(route: str, **parts: object) -> str:
    for name, value in parts.items():
        route = route.replace(f"<{name}>", str(value))
    return based(route)


def jobs_link(job: str = "") -> str:
    """Address of the list of jobs, with what one printed if given."""
    return based(JOBS_PATH + _search({"job": job} if job else {}))


def compare_link(**query: object) -> str:
    """Address of the page that compares: experts ``a`` to ``d``, ``text`` and ``with``, ``edit`` and ``edit2``, or a
    ``run``; ``kind`` asks for the form of one of these. None leaves a field out."""
    return based(COMPARE_PATH + _search({name: value for name, value in query.items() if value is not None}))


def atlas_link(group: int | None = None, **query: object) -> str:
    """Address of the atlas: of one group, or of all side by side; None leaves a field of ``query`` out."""
    fields = {"group": group} | query
    return based(ATLAS_PATH + _search({name: value for name, value in fields.items() if value is not None}))


def atlas_templates() -> dict[str, str]:
    """Addresses for the script of the atlas, which puts numbers in place of the words in braces."""
    routes = {"cells": ATLAS_CELLS, "facts": ATLAS_EXPERT}
    asked = {name: route.replace("<", "{").replace(">", "}") for name, route in routes.items()}
    return {name: based(path) for name, path in (asked | {"expert": EXPERT_PATH, "key": KEY_PATH}).items()}


def key_link(group: int, key_set: int, key: int, page: int = 1) -> str:
    """Address of a key's page, at a page of its experts."""
    return based(KEY_PATH.format(group=group, key_set=key_set, key=key) + _search({} if page == 1 else {"page": page}))


def region_file(kind: str, region: str) -> str:
    """Address of the experts of a region as CSV; ``kind`` is ``cells`` or ``plane``: see ``atlas/regions.py``."""
    return based(REGION_FILE + _search({kind: region}))


def circuit_link(query: Mapping[str, str], **changes: object) -> str:
    """Address of the circuit of a prompt: the fields of ``query`` with ``changes``, of which None drops a field."""
    return based(CIRCUIT_PATH + prompt_search(query, **changes))


def circuit_templates(query: Mapping[str, str]) -> dict[str, str]:
    """Addresses for the script of a circuit, which puts names and numbers in place of the words in braces."""
    asked = {"graph": CIRCUIT_GRAPH, "edges": CIRCUIT_EDGES.replace("<", "{").replace(">", "}")}
    cards = {"expert": EXPERT_PATH, "card": HOVER_CARD.replace("<", "{").replace(">", "}")}
    return {name: based(path) + prompt_search(query) for name, path in asked.items()} | {
        name: based(path) for name, path in cards.items()
    }


def control_link(**query: object) -> str:
    """Address of the page of a policy: the mortality of ``species``, and what ``expert`` adds to it."""
    return based(CONTROL_PATH + _search(query))


def diff_link(**query: object) -> str:
    """Address of what a fine-tune changed: experts sorted ``by`` a change, and the masses of a ``group``."""
    return based(DIFF_PATH + _search(query))


def diff_file(kind: str) -> str:
    """Address of the report of what a fine-tune changed, as a file."""
    return _file(DIFF_FILE, kind=kind)


def ownership_link(**query: object) -> str:
    """Address of the page of a model's fingerprints: the curve of ``units`` removed."""
    return based(OWNERSHIP_PATH + _search(query))
