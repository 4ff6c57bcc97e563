"""Edits of experts as text: in addresses, among what is kept, wherever one is written or read.

An edit is a list of rows, each a set of experts and the factor that scales their outputs. As text they stand one after
the other, separated by commas: ``0:17=0`` scales one expert, ``label:lua/confirmed/ratio:3=0.5`` those of a label that
are confirmed and have at least this ratio, ``top:10/at:5=2`` the most active ones at a prompt's fifth token, and
``search:10/firing/return=0`` the first ten of a search. A row may say at which tokens it holds: ``0:17=0 @3,5-9``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import BadInputError
from .address import Expert, check_groups_given, path_part, read_expert, read_path_part
from .edit_places import PLACE, TokenPlaces

if TYPE_CHECKING:
    from .run import Run

# Rows end at a comma, unless what follows are more tokens of the same row.
_BETWEEN_ROWS = re.compile(rf"[;\n]|,(?!\s*{PLACE}\s*(?:[,;\n]|$))")
SEARCHES = ("firing", "text", "documents", "explanations")
MAX_FACTOR = 1000.0  # that of monet_model.edits, which would import torch here


@dataclass(frozen=True)
class LabelExperts:
    """The experts specialised in a label.

    Attributes:
        label: the label.
        confirmed: only those whose specialisation is confirmed.
        ratio: the least ratio that they have; 0 for any.
    """

    label: str
    confirmed: bool = False
    ratio: float = 0.0

    def __str__(self) -> str:
        options = ["confirmed"] * self.confirmed + [f"ratio:{self.ratio:g}"] * (self.ratio > 0)
        return "/".join([f"label:{path_part(self.label)}", *options])


@dataclass(frozen=True)
class TopExperts:
    """The experts with the largest sum of routing scores over the unedited prompt.

    Attributes:
        n: how many.
        at: number of the token to look at, from 1; 0 for the sum over all tokens.
    """

    n: int
    at: int = 0

    def __str__(self) -> str:
        return f"top:{self.n}" + (f"/at:{self.at}" if self.at else "")


@dataclass(frozen=True)
class SearchExperts:
    """The first experts of a search.

    Attributes:
        kind: one of ``SEARCHES``, as on the search page.
        query: what is searched for.
        n: how many.
    """

    kind: str
    query: str
    n: int

    def __str__(self) -> str:
        return f"search:{self.n}/{self.kind}/{path_part(self.query)}"


Experts = Expert | LabelExperts | TopExperts | SearchExperts


@dataclass(frozen=True)
class EditRow:
    """Some experts, and the factor that scales them: 0 removes, 1 changes nothing, 2 doubles.

    Attributes:
        experts: the experts.
        factor: what their outputs are multiplied with.
        places: the tokens at which it holds; None for all.
    """

    experts: Experts
    factor: float = 0.0
    places: TokenPlaces | None = None

    def __str__(self) -> str:
        return f"{self.experts}={self.factor:g}" + ("" if self.places is None else f" @{self.places}")

    @property
    def key(self) -> tuple[object, TokenPlaces | None]:
        """What it is about: of rows with the same experts and places only one can stand."""
        return self.experts, self.places


@dataclass(frozen=True)
class PromptEdit:
    """An edit a list of rows.

    Attributes:
        rows: what is scaled. Where rows share an expert at a token, its own row wins, and otherwise the later one.
    """

    rows: tuple[EditRow, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rows)

    def __str__(self) -> str:
        return ", ".join(map(str, self.rows))

    def query(self) -> dict[str, str]:
        """Fields of the address: all there is to keep of an edit, and what ``read_edit`` reads."""
        return {"edit": str(self)} if self else {}

    @property
    def factors(self) -> dict[Expert, float]:
        """Factor of each expert that has a row of its own."""
        return {row.experts: row.factor for row in self.rows if isinstance(row.experts, Expert)}

    @property
    def reads_prompt(self) -> bool:
        """Whether its experts depend on the prompt."""
        return any(isinstance(row.experts, TopExperts) for row in self.rows)

    @property
    def holds_everywhere(self) -> bool:
        """Whether no row is limited to some tokens."""
        return all(row.places is None for row in self.rows)

    def scaled(self, factors: Mapping[int, float]) -> PromptEdit:
        """The same edit with other factors for some rows, by their index."""
        return PromptEdit(tuple(replace(row, factor=factors.get(at, row.factor)) for at, row in enumerate(self.rows)))

    def placed(self, places: Mapping[int, TokenPlaces | None]) -> PromptEdit:
        """The same edit with some rows held at other tokens, by their index."""
        return PromptEdit(tuple(replace(row, places=places.get(at, row.places)) for at, row in enumerate(self.rows)))

    def without(self, at: int) -> PromptEdit:
        """The same edit without one row."""
        return PromptEdit(self.rows[:at] + self.rows[at + 1 :])

    def plus(self, *rows: EditRow) -> PromptEdit:
        """The same edit with more rows; a row of the same experts and places makes way."""
        fresh = {row.key for row in rows}
        return PromptEdit(tuple(row for row in self.rows if row.key not in fresh) + rows)

    def toggled(self, expert: Expert) -> PromptEdit:
        """The same edit with an expert removed, or no longer edited where it was."""
        if expert in self.factors:
            return PromptEdit(tuple(row for row in self.rows if row.experts != expert))
        return self.plus(EditRow(expert))


def read_edit_text(run: Run, text: str, without: str = "") -> PromptEdit:
    """The edit that a text writes.

    Args:
        run: the run whose experts and labels it names.
        text: the rows, separated by commas, semicolons or line breaks; a row without a factor removes its experts,
            and one without ``@`` and tokens holds at all of them.
        without: a label whose experts are removed as well, or several, separated by commas.

    Raises:
        BadInputError: a row that cannot be read, or whose expert leaves out its group.
        NotFoundError: an expert or label that the run does not have.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.store.edit_text import read_edit_text
        >>> str(read_edit_text(open_run("runs/demo"), "0:17; 1:3=0.5", without="lua"))
        'label:lua=0, 0:17=0, 1:3=0.5'
        >>> str(read_edit_text(open_run("runs/demo"), "0:17=0 @3, 5-9, 1:3 @last-"))
        '0:17=0 @3,5-9, 1:3=0 @last-'
    """
    check_groups_given(text, run.num_keys)
    rows = [EditRow(_label(run, name)) for name in _labels(without, run)]
    rows += [_read_row(item.strip(), run) for item in _BETWEEN_ROWS.split(text) if item.strip()]
    last: dict[object, EditRow] = {}
    for row in rows:
        last.pop(row.key, None)  # of rows of the same experts and places the last one stands, where it was written
        last[row.key] = row
    return PromptEdit(tuple(last.values()))


def _labels(text: str, run: Run) -> list[str]:
    if text in run.labels:  # which may hold commas itself
        return [text]
    return [read_path_part(part.strip()) for part in text.split(",") if part.strip()]


def _label(run: Run, label: str, confirmed: bool = False, ratio: float = 0.0) -> LabelExperts:
    run.check_label(label)
    return LabelExperts(label, confirmed, ratio)


def _read_row(item: str, run: Run) -> EditRow:
    row, at, places = item.partition("@")
    read = _read_everywhere(row.strip(), run)
    return replace(read, places=TokenPlaces.read(places.strip())) if at else read


def _read_everywhere(item: str, run: Run) -> EditRow:
    """A row without its tokens."""
    name, _, factor = item.partition("=")
    value = _number(factor) if factor else 0.0
    example = f"{run.groups[0]}:17=0"
    if not math.isfinite(value):
        raise BadInputError(f"{item!r} is not an edit; write group:id=factor, such as {example}.")
    if abs(value) > MAX_FACTOR:
        raise BadInputError(f"the factor of {item!r} is beyond {MAX_FACTOR:g}; give one from -{MAX_FACTOR:g} to it.")
    kind, _, rest = name.strip().partition(":")
    chosen, *options = rest.split("/")
    if kind == "label":
        ratios = [_number(option.removeprefix("ratio:")) for option in options if option != "confirmed"]
        if len(ratios) > 1 or not all(math.isfinite(ratio) and ratio >= 0 for ratio in ratios):
            raise BadInputError(f"{item!r} is not an edit; write label:NAME/confirmed/ratio:3=factor.")
        return EditRow(_label(run, read_path_part(chosen), "confirmed" in options, sum(ratios)), value)
    if kind == "top":
        found = re.fullmatch(r"([1-9]\d{0,5})(?:/at:([1-9]\d{0,5}))?", rest)
        if found is None:
            raise BadInputError(f"{item!r} is not an edit; write top:10=factor, or top:10/at:5=factor for token 5.")
        return EditRow(TopExperts(int(found[1]), int(found[2] or 0)), value)
    if kind == "search":
        found = re.fullmatch(rf"([1-9]\d{{0,5}})/({'|'.join(SEARCHES)})/([^/]+)", rest)
        if found is None:
            raise BadInputError(
                f"{item!r} is not an edit; write search:10/firing/TEXT=factor, or another of {', '.join(SEARCHES)}."
            )
        return EditRow(SearchExperts(found[2], read_path_part(found[3]), int(found[1])), value)
    return EditRow(read_expert(name, run.groups, run.num_keys), value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
