"""A client of the HTTP API of a served run: tables as DataFrames, everything else as dataclasses.

This file stands alone: it needs httpx and pandas and nothing else of the workbench, so it may be copied elsewhere.
docs/http-api.md has every address, with what it takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx
import pandas as pd

PREFIX = "/api/v1"
TIMEOUT = 120.0  # seconds: the first prompt waits for the model to be loaded
_Kept = TypeVar("_Kept")
COLUMNS = {  # of tables, by the schema of their rows in the server's OpenAPI document
    "ExpertRow": "group expert tokens mass mean max label confirmed monosemanticity ratio token_entropy interest",
    "LabelUse": "label tokens mass rate share",
    "Octave": "low high count",
    "Explanation": "kind author text detection fuzzing balanced_accuracy average_precision",
    "TokenLogit": "token token_text logit",
    "ExampleRow": "score label source doc position texts scores at cut_before cut_after",
    "ActivationRow": "row doc position token token_text label score",
    "FiringExpert": "group expert tokens rate precision f1 mean max sum",
    "TextExpert": "group expert sum max frequency density label confirmed",
    "DocumentHit": "doc label source start end first_row last_row before match after",
    "FoundExplanation": "group expert kind author text contains similarity",
    "ActiveExpert": "position group rank expert score factor",
    "NextToken": "token token_text probability before",
    "Contribution": "layer group expert contribution",
    "Component": "component contribution",
    "CircuitNode": "node kind layer group position expert value influence score head margin label",
    "CircuitEdge": "source target kind weight",
    "WrittenToken": "token token_text probability alternatives",
    "TokenRow": "row position token text score",
    "Note": "id group expert text author time",
    "TagCount": "tag experts",
    "SavedEdit": "name edit time",
    "ListRow": "name description experts time",
    "ListItem": "group expert tags notes",
}
_FOUND = {  # kind of search -> rows
    "firing": "FiringExpert",
    "text": "TextExpert",
    "documents": "DocumentHit",
    "explanations": "FoundExplanation",
}


def _rows(schema: str) -> Any:
    """A field that holds rows of a schema, as a table."""
    return field(metadata={"rows": schema})


class ApiError(Exception):
    """The server refused a request.

    Attributes:
        status: the HTTP status.
        kind: kind of the error, such as ``not-found``.
        message: what is wrong, and what to do.
    """

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """A run: its numbers, its labels with their tokens, the settings of its export and the files of its analyses.

    ``transcoded`` says how well a transcoded model stands for its teacher: teacher, layers, rise, recovered,
    and whether its experts were edited afterwards.
    """

    name: str
    groups: list[int]
    group_layers: list[int]
    layers: list[list[int]]
    keys: int
    heads: int
    experts: int
    labels: dict[str, int]
    documents: int
    tokens: int
    context_length: int
    settings: dict[str, Any]
    analysed: bool
    analyses: list[str]
    transcoded: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class ExpertInfo:
    """One expert; ``labels``, ``histogram``, ``explanations``, ``promoted`` and ``suppressed`` are tables."""

    group: int
    expert: int
    i: int
    j: int
    tokens: int
    mass: float
    mean: float | None
    max: float
    label: str
    confirmed: bool
    scores: dict[str, float | None]
    q: dict[str, float | None]
    token_entropy: float | None
    interest: float | None
    labels: pd.DataFrame = _rows("LabelUse")
    histogram: pd.DataFrame = _rows("Octave")
    top_tokens: list[str]
    explanations: pd.DataFrame = _rows("Explanation")
    promoted: pd.DataFrame = _rows("TokenLogit")
    suppressed: pd.DataFrame = _rows("TokenLogit")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the model did with a prompt: ``experts`` and ``next`` are tables."""

    tokens: list[str]
    edited: int
    experts: pd.DataFrame = _rows("ActiveExpert")
    next: pd.DataFrame = _rows("NextToken")
    loss: float | None
    loss_before: float | None


@dataclass(frozen=True, kw_only=True)
class TokenAttribution:
    """A logit in parts: ``experts`` (the largest) and ``rest`` (all others) are tables."""

    tokens: list[str]
    target: int
    target_text: str
    minus: int | None
    logit: float
    total: float
    active_experts: int
    experts: pd.DataFrame = _rows("Contribution")
    rest: pd.DataFrame = _rows("Component")


@dataclass(frozen=True, kw_only=True)
class TokenCircuit:
    """The circuit behind a token, pruned: ``nodes`` and ``edges`` are tables; positions count all of ``tokens``."""

    tokens: list[str]
    position: int
    target: int
    target_text: str
    minus: int | None
    probability: float | None
    logit: float
    completeness: float | None
    kept_nodes: float
    kept_edges: float
    total_edges: int
    nodes: pd.DataFrame = _rows("CircuitNode")
    edges: pd.DataFrame = _rows("CircuitEdge")


@dataclass(frozen=True, kw_only=True)
class Written:
    """What the model wrote; ``tokens`` is a table."""

    text: str
    ended: str
    tokens: pd.DataFrame = _rows("WrittenToken")


@dataclass(frozen=True, kw_only=True)
class EditInfo:
    """An edit as the server read it, and how many experts it scales and removes."""

    edit: str
    experts: int
    removed: int


@dataclass(frozen=True, kw_only=True)
class DocumentInfo:
    """A document; ``tokens`` is a table, a page of ``total`` tokens from ``offset``."""

    doc: int
    label: str
    source: str
    text: str | None
    total: int
    offset: int
    tokens: pd.DataFrame = _rows("TokenRow")


class Client:
    """Asks a served run; threads may share it.

    Args:
        address: of the server, such as ``http://127.0.0.1:8050``.
        password: that it was served with; "" for none.
        timeout: seconds that an answer may take.
        transport: of httpx, in place of the network.

    All methods raise ``ApiError`` where the server refuses, and httpx's errors where it cannot be reached.

    Examples:
        >>> import httpx
        >>> from workbench import open_run
        >>> from workbench.client import ApiError, Client
        >>> from workbench.dashboard import create_app
        >>> server = create_app(open_run("runs/demo")).server  # or `monet serve runs/demo`, and no transport
        >>> client = Client("http://127.0.0.1:8050", transport=httpx.WSGITransport(server))
        >>> client.run().groups
        [0, 1]
        >>> best = client.experts(0, sort="mass", limit=3)
        >>> best["mass"].is_monotonic_decreasing, best.attrs["total"] > 3  # on all pages
        (True, True)
        >>> expert = int(best["expert"][0])
        >>> bool(client.expert(0, expert).tokens == best["tokens"][0])
        True
        >>> client.activations(0, expert, limit=2).columns[:4].tolist()
        ['row', 'doc', 'position', 'token']
        >>> client.search("return", "documents", limit=1)["match"].tolist()
        ['return']
        >>> reading = client.prompt("public static void", edit=f"0:{expert}=0")
        >>> reading.tokens, reading.edited
        (['public', ' static', ' void'], 1)
        >>> client.generate("public static void", max_new_tokens=2).ended
        'length'
        >>> try:
        ...     client.experts(7)
        ... except ApiError as error:
        ...     print(error.status, error.kind)
        404 not-found
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8050",
        *,
        password: str = "",
        timeout: float = TIMEOUT,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {password}"} if password else {}
        self._http = httpx.Client(
            base_url=address.rstrip("/") + PREFIX, headers=headers, timeout=timeout, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    # the run, its experts and documents

    def run(self) -> RunInfo:
        """The run."""
        return _dataclass(RunInfo, self._get("/run"))

    def experts(
        self,
        group: int = 0,
        *,
        sort: str = "interest",
        order: Literal["asc", "desc"] = "desc",
        offset: int = 0,
        limit: int = 50,
        label: str | None = None,
        confirmed: bool | None = None,
        **bounds: float,
    ) -> pd.DataFrame:
        """A page of the experts of a group.

        Args:
            group: number of the group.
            sort: column to sort by.
            order: ``desc`` for the largest first.
            offset: experts to skip.
            limit: experts to return, at most 1,000.
            label: only those specialised in this label; "" for those without one.
            confirmed: only those whose label is confirmed, or is not.
            bounds: such as ``min_tokens=100``, ``min_max=0.1`` or ``max_token_entropy=1``.

        Returns:
            One row per expert; ``attrs["total"]`` is how many there are on all pages.
        """
        query = {"group": group, "sort": sort, "order": order, "offset": offset, "limit": limit, "label": label}
        return _table(self._get("/experts", **query, confirmed=confirmed, **bounds), "experts", "ExpertRow")

    def expert(self, group: int, expert: int, *, logits: int = 0) -> ExpertInfo:
        """One expert, with ``logits`` tokens that it promotes and as many that it suppresses; these take the model."""
        return _dataclass(ExpertInfo, self._get(f"/experts/{group}/{expert}", logits=logits))

    def examples(self, group: int, expert: int, n: int = 32) -> pd.DataFrame:
        """The tokens where an expert scores highest, best first: ``texts`` around each; it is number ``at`` of them."""
        return _table(self._get(f"/experts/{group}/{expert}/examples", n=n), "examples", "ExampleRow")

    def activations(
        self,
        group: int,
        expert: int,
        *,
        offset: int = 0,
        limit: int = 50,
        label: str | None = None,
        source: str | None = None,
        doc: int | None = None,
        min_score: float | None = None,
        max_score: float | None = None,
    ) -> pd.DataFrame:
        """A page of the tokens where an expert is active, in the order of the corpus; ``attrs["total"]`` counts all.

        They may be narrowed to documents of a label, whose source contains a text, or to one, and by score.
        """
        wanted = {"label": label, "source": source, "doc": doc, "min_score": min_score, "max_score": max_score}
        found = self._get(f"/experts/{group}/{expert}/activations", offset=offset, limit=limit, **wanted)
        return _table(found, "activations", "ActivationRow")

    def search(
        self,
        text: str,
        kind: Literal["firing", "text", "documents", "explanations"] = "firing",
        *,
        group: int | None = None,
        label: str | None = None,
        by: Literal["sum", "max", "frequency"] | None = None,
        density: float | None = None,
        offset: int = 0,
        limit: int = 50,
    ) -> pd.DataFrame:
        """A page of what a search finds, best first; ``attrs["total"]`` counts all where that is known.

        Of kind ``firing`` in one ``group``; of kind ``documents`` in those of a ``label``; of kind ``text`` ranked
        ``by`` the sum of scores or another measure, and active at no larger a share of the corpus than ``density``.
        """
        narrowed = {"group": group, "label": label, "by": by, "density": density}
        found = self._get("/search", q=text, kind=kind, offset=offset, limit=limit, **narrowed)
        return _table(found, "rows", _FOUND[kind])

    def document(
        self, doc: int, *, expert: tuple[int, int] | None = None, offset: int = 0, limit: int = 1000
    ) -> DocumentInfo:
        """A document, with the scores of ``expert``, a group and an id, at its tokens if one is given."""
        name = None if expert is None else f"{expert[0]}:{expert[1]}"
        return _dataclass(DocumentInfo, self._get(f"/documents/{doc}", expert=name, offset=offset, limit=limit))

    # the model

    def prompt(self, text: str, *, edit: str = "", experts: int = 5, next: int = 6) -> Reading:
        """What the model does with a text: ``experts`` per token and group, and the likeliest ``next`` tokens."""
        return _dataclass(Reading, self._post("/prompt", text=text, edit=edit, experts=experts, next=next))

    def attribute(
        self,
        text: str,
        *,
        target: str | None = None,
        minus: str | None = None,
        position: int | None = None,
        edit: str = "",
        experts: int = 20,
    ) -> TokenAttribution:
        """Which experts write the token after a text, or after its token number ``position``, counted from 0."""
        chosen = {"target": target, "minus": minus, "position": position}
        asked = {name: value for name, value in chosen.items() if value is not None}
        found = self._post("/attribute", text=text, edit=edit, experts=experts, **asked)
        return _dataclass(TokenAttribution, found)

    def circuit(
        self,
        text: str,
        *,
        target: str | None = None,
        minus: str | None = None,
        position: int | None = None,
        edit: str = "",
        nodes: int = 128,
        node_threshold: float = 0.8,
        edge_threshold: float = 0.98,
        edges: int = 1000,
    ) -> TokenCircuit:
        """The circuit behind the token after a text: of ``nodes`` experts, pruned, with the strongest ``edges``."""
        chosen = {"target": target, "minus": minus, "position": position}
        asked: dict[str, str | float] = {name: value for name, value in chosen.items() if value is not None}
        asked |= {"nodes": nodes, "node_threshold": node_threshold, "edge_threshold": edge_threshold, "edges": edges}
        return _dataclass(TokenCircuit, self._post("/circuit", text=text, edit=edit, **asked))

    def generate(
        self,
        text: str,
        *,
        edit: str = "",
        max_new_tokens: int = 32,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Written:
        """What the model writes after a text."""
        settings = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p, "seed": seed}
        return _dataclass(Written, self._post("/generate", text=text, edit=edit, **settings))

    def edit(self, edit: str, *, text: str = "") -> EditInfo:
        """How an edit is read; ``text`` is the prompt that ``top:N`` in it speaks of."""
        return _dataclass(EditInfo, self._post("/edits", edit=edit, text=text))

    def edit_file(self, edit: str, *, text: str = "") -> bytes:
        """An edit as the file that ``ExpertEdit.load`` reads."""
        return self._ask("POST", "/edits/file", json={"edit": edit, "text": text}).content

    def saved_edits(self) -> pd.DataFrame:
        """The edits that are kept beside the run: ``name``, ``edit`` and ``time``."""
        return _dated(_table(self._get("/edits/saved"), "edits", "SavedEdit"))

    def save_edit(self, name: str, edit: str) -> str:
        """Keep an edit; its name as it is kept."""
        return str(self._post("/edits/saved", name=name, edit=edit)["name"])

    def delete_edit(self, name: str) -> None:
        """Forget a saved edit."""
        self._ask("DELETE", "/edits/saved", params={"name": name})

    # what people keep

    def notes(self, group: int | None = None, expert: int | None = None, *, limit: int = 50) -> pd.DataFrame:
        """The notes about an expert, oldest first; without one, the last notes about any."""
        return _dated(_table(self._get("/notes", group=group, expert=expert, limit=limit), "notes", "Note"))

    def add_note(self, group: int, expert: int, text: str, author: str = "") -> int:
        """Keep a note about an expert; its id."""
        return int(self._post("/notes", group=group, expert=expert, text=text, author=author)["id"])

    def change_note(self, note: int, text: str, known: str) -> str:
        """Write a note anew in place of the text ``known``; its text as it is kept."""
        return str(self._patch(f"/notes/{note}", text=text, known=known)["text"])

    def delete_note(self, note: int) -> None:
        """Forget a note."""
        self._ask("DELETE", f"/notes/{note}")

    def tags(self) -> pd.DataFrame:
        """The tags in use: ``tag``, and ``experts``, how many have it."""
        return _table(self._get("/tags"), "tags", "TagCount")

    def tagged(self, tag: str) -> list[tuple[int, int]]:
        """Group and id of the experts that have a tag."""
        return [(of["group"], of["expert"]) for of in self._get("/tags", tag=tag)["experts"]]

    def tag(self, group: int, expert: int, tag: str) -> None:
        """Give an expert a tag."""
        self._ask("POST", "/tags", json={"group": group, "expert": expert, "tag": tag})

    def untag(self, group: int, expert: int, tag: str) -> None:
        """Take a tag from an expert."""
        self._ask("DELETE", "/tags", params={"group": group, "expert": expert, "tag": tag})

    def lists(self) -> pd.DataFrame:
        """Every list of experts: ``name``, ``description``, ``experts`` (how many) and ``time``."""
        return _dated(_table(self._get("/lists"), "lists", "ListRow"))

    def list_experts(self, name: str) -> pd.DataFrame:
        """The experts of a list in its order, with their tags and notes; ``attrs["description"]`` is the list's."""
        return _table(self._get("/lists/experts", name=name), "experts", "ListItem")

    def create_list(self, name: str, description: str = "", experts: Iterable[tuple[int, int]] = ()) -> str:
        """Make a list of experts, given as group and id; its name as it is kept."""
        places = [{"group": group, "expert": expert} for group, expert in experts]
        return str(self._post("/lists", name=name, description=description, experts=places)["name"])

    def describe_list(self, name: str, description: str, known: str) -> str:
        """Give a list a description in place of ``known``; as it is kept. An empty one takes it away."""
        return str(self._patch("/lists", name=name, description=description, known=known)["description"])

    def delete_list(self, name: str) -> None:
        """Forget a list."""
        self._ask("DELETE", "/lists", params={"name": name})

    def add_to_list(self, name: str, group: int, expert: int) -> None:
        """Put an expert at the end of a list."""
        self._ask("POST", "/lists/experts", json={"name": name, "group": group, "expert": expert})

    def remove_from_list(self, name: str, group: int, expert: int) -> None:
        """Take an expert from a list."""
        self._ask("DELETE", "/lists/experts", params={"name": name, "group": group, "expert": expert})

    # requests

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._ask(
            "GET", path, params={name: value for name, value in query.items() if value is not None}
        ).json()
        return answer

    def _post(self, path: str, **body: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._ask("POST", path, json=body).json()
        return answer

    def _patch(self, path: str, **body: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._ask("PATCH", path, json=body).json()
        return answer

    def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        answer = self._http.request(method, path, **request)
        if answer.is_success:
            return answer
        try:
            error = answer.json()["error"]
            kind, message = str(error["kind"]), str(error["message"])
        except (ValueError, KeyError, TypeError):  # something in between answered
            kind, message = "http", answer.text.strip() or answer.reason_phrase
        raise ApiError(answer.status_code, kind, message)


def _frame(rows: list[dict[str, Any]], schema: str) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS[schema].split())


def _table(answer: Mapping[str, Any], rows: str, schema: str) -> pd.DataFrame:
    """The rows of an answer; the other fields are its ``attrs``."""
    table = _frame(answer[rows], schema)
    table.attrs.update({name: value for name, value in answer.items() if name != rows})
    return table


def _dated(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its times as times of pandas."""
    return table.assign(time=pd.to_datetime(table["time"], utc=True))


def _dataclass(cls: type[_Kept], answer: Mapping[str, Any]) -> _Kept:
    """The answer as a dataclass; what a newer server says beyond its fields is left out."""
    kept = {}
    for one in fields(cls):  # type: ignore[arg-type]  # every class given is a dataclass
        value, schema = answer[one.name], one.metadata.get("rows")
        kept[one.name] = value if schema is None else _frame(value, schema)
    return cls(**kept)
