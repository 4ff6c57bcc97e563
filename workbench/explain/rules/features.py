"""What a rule may ask of a token: columns of whole numbers over the token rows of a run, made once.

Each column numbers the values of one feature: the token itself, how it is spelt, what stands before it, where on its
line and in its document it stands. All look at the token and what is in front of it alone, as the model does.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import UnsupportedError
from .quoting import START, quoted_exactly
from .scan import scan

if TYPE_CHECKING:
    from ...store import Run

_WORD = re.compile(r"[\w$]+")
_WORD_END = re.compile(r"[\w$]*$")
_LINE_START = re.compile(r"\s*(\W*\w*)")
_INSIDE = {"(": "inside ( )", "[": "inside [ ]", "{": "inside { }"}
_AT_TOKEN = ("kind", "word", "word before", "mark before", "line", "line before", "indent", "column")
_AT_CHARACTER = ("bracket", "opener", "place")
_LONGEST = 24  # characters of a word that are told apart, from its end
_COLUMNS = (4, 12, 30, 60)  # characters of a line's text in front of a token
_POSITIONS = (1, 4, 8, 16, 32, 64, 128)  # tokens of a document in front of a token
_INDENT = 12  # deepest indent that is told apart


def _spans(what: str, whole: str, edges: Sequence[int]) -> list[str]:
    """Names of the stretches between ``edges``; what is counted begins with 1."""
    ends = [f"at {what} {low + 1} to {high} {whole}" for low, high in pairwise(edges)]
    return [f"at the first {what[:-1]} {whole}", *ends, f"beyond {what} {edges[-1]} {whole}"]


_COLUMN_NAMES = _spans("characters", "of a line", (1, *_COLUMNS))[1:]


@dataclass(frozen=True)
class Feature:
    """One thing that a rule may ask of a token.

    Attributes:
        name: of the feature.
        phrase: how a condition on it reads; {} stands for the values.
        texts: how many texts of the corpus a value quotes; two are a pair that is quoted already.
    """

    name: str
    phrase: str
    texts: int


FEATURES = {
    feature.name: feature
    for feature in (
        Feature("token", "at {}", 1),
        Feature("spelling", "at {} in any case or spacing", 1),
        Feature("ending", "at tokens ending in {}", 1),
        Feature("last", "at tokens ending in {}", 1),
        Feature("beginning", "at tokens beginning with {}", 1),
        Feature("first", "at tokens beginning with {}", 1),
        Feature("kind", "at {}", 0),
        Feature("word", "at the end of {}", 1),
        Feature("before", "after {}", 1),
        Feature("before spelling", "after {} in any case or spacing", 1),
        Feature("second before", "with {} two tokens before", 1),
        Feature("before kind", "after {}", 0),
        Feature("pair", "at the sequence {}", 2),
        Feature("word before", "after the word {}", 1),
        Feature("mark before", "in a word behind {}", 1),
        Feature("line", "on lines beginning with {}", 1),
        Feature("line before", "below lines beginning with {}", 1),
        Feature("indent", "on lines indented by {}", 0),
        Feature("column", "{}", 0),
        Feature("bracket", "{}", 0),
        Feature("opener", "in brackets behind {}", 1),
        Feature("place", "{}", 0),
        Feature("label", "in {}", 0),
        Feature("position", "{}", 0),
        Feature("repeated", "{}", 0),
        Feature("pair repeated", "{}", 0),
    )
}
TOKEN_ALONE = ("token",)  # of the control that knows the token only
LOOSER = {"token": "spelling", "before": "before spelling"}  # feature -> the one that a value of it always has too


@dataclass(frozen=True)
class Features:
    """Columns of features over token rows.

    Attributes:
        codes: (token rows, features) int32 numbers of values, counted through all features;
            a column lies together in memory.
        feature: (values,) which feature a value belongs to: its place in ``names``.
        texts: (values,) each value as text.
        names: the features.
    """

    codes: NDArray[np.int32]
    feature: NDArray[np.int64]
    texts: list[str]
    names: list[str]

    @cached_property
    def single(self) -> dict[str, str]:
        """Spellings that one token alone has -> that token."""
        tokens = [self.texts[value] for value in np.flatnonzero(self.feature == self.names.index("token"))]
        count = Counter(map(spelling_of, tokens))
        return {spelling_of(token): token for token in tokens if count[spelling_of(token)] == 1}


def spelling_of(token: str) -> str:
    """A token without case and the blanks around it; blanks as they are."""
    return token.strip().lower() or token


def read_features(run: Run) -> Features:
    """Return the features of every token row of a run.

    Args:
        run: an opened run of texts.

    Returns:
        ``Features``: 4 bytes per token row and feature.

    Raises:
        UnsupportedError: the run holds token ids without text.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.explain.rules.features import read_features
        >>> run = open_run("runs/demo")
        >>> features = read_features(run)
        >>> [features.texts[code] for code in features.codes[1, [0, 8, 22]]]
        [' S', '#', 'python']
    """
    if run.tokenizer() is None:
        raise UnsupportedError(f"{run.path} holds token ids without text, and rules are learned from text.")
    columns = {**_token_columns(run), **_text_columns(run)}
    codes, features = [], []
    texts: list[str] = []
    for number, name in enumerate(FEATURES):
        code, values = columns[name]
        codes.append((code + len(texts)).astype(np.int32))
        features.append(np.full(len(values), number))
        texts += values
    return Features(np.asfortranarray(np.stack(codes, axis=1)), np.concatenate(features), texts, list(FEATURES))


Column = tuple[NDArray[np.int64], list[str]]


def _token_columns(run: Run) -> dict[str, Column]:
    """The columns that follow from the ids of a token and of those before it."""
    token = run.token_column.astype(np.int64)
    first = np.repeat(run.documents["row"].to_numpy(np.int64), run.documents["tokens"])
    position = np.arange(len(token)) - first
    size = max(int(run.manifest["model"]["vocabulary"]), int(token.max(initial=0)) + 1)
    texts = [*run.token_text(np.arange(size)), START]
    before, second = (_earlier(token, position, by, size) for by in (1, 2))
    spelling = _numbered(list(map(spelling_of, texts)))
    kind = _numbered([*map(token_kind, texts[:-1]), START])
    pair, place = np.unique(before * (size + 1) + token, return_inverse=True)
    pairs = [
        f"{quoted_exactly(texts[at // (size + 1)])} {quoted_exactly(texts[at % (size + 1)])}" for at in pair.tolist()
    ]
    document = first * (size + 1)  # tells documents apart
    label = np.repeat(run.document_labels, run.documents["tokens"])
    return {
        "token": (token, texts),
        "spelling": _through(spelling, token),
        "ending": _through(_numbered([text.strip()[-2:] for text in texts]), token),
        "last": _through(_numbered([text.strip()[-1:] for text in texts]), token),
        "beginning": _through(_numbered([text.strip()[:2] for text in texts]), token),
        "first": _through(_numbered([text.strip()[:1] for text in texts]), token),
        "before": (before, texts),
        "before spelling": _through(spelling, before),
        "second before": (second, texts),
        "before kind": _through(kind, before),
        "pair": (place, pairs),
        "label": (label, list(run.labels)),
        "position": (np.searchsorted(_POSITIONS, position, "right"), _spans("tokens", "of the document", _POSITIONS)),
        "repeated": (
            _seen(document + token),
            ["where the token is new to the document", "where the token came before"],
        ),
        "pair repeated": (
            _seen(first * len(pair) + place),
            ["where it and the token before are new together", "where it came before after the same token"],
        ),
    }


def _text_columns(run: Run) -> dict[str, Column]:
    """The columns for which a document's text is read."""
    spans = run.tokens()[["start", "end"]].to_numpy(np.int64)
    found: dict[str, list[str]] = {name: [] for name in (*_AT_TOKEN, *_AT_CHARACTER)}
    documents = run.documents[["row", "tokens"]].to_numpy(np.int64).tolist()
    for doc, (row, tokens) in enumerate(documents):
        text = run.text(doc) or ""
        around = scan(text)
        for start, end in spans[row : row + tokens].tolist():
            for name, value in _reading(text, start, end).items():
                found[name].append(value)
            at = min(start + len(text[start:end]) - len(text[start:end].lstrip(" ")), len(text))
            bracket = around.bracket[at]
            found["bracket"].append(_INSIDE[bracket] if bracket else "outside brackets")
            found["opener"].append(around.opener[at])
            found["place"].append(around.place[at])
    return {name: _numbered(values) for name, values in found.items()}


def _reading(text: str, start: int, end: int) -> dict[str, str]:
    """What is read at a token of a text, up to its end."""
    piece = text[start:end]
    line_start = text.rfind("\n", 0, start) + 1
    line = text[line_start:start]
    inner = line.lstrip()
    behind = text[max(start - 60, 0) : start]
    begun = _last(_WORD_END, behind) if piece[:1].isalnum() or piece[:1] in ("_", "$") else ""
    front = behind[: len(behind) - len(begun)]
    words = _WORD.findall(front)
    so_far = line if inner else line + piece
    indent = len(so_far) - len(so_far.lstrip(" \t"))
    above = text[text.rfind("\n", 0, max(line_start - 1, 0)) + 1 : max(line_start - 1, 0)]
    mark = front.rstrip(" ")[-1:]
    far = bisect(_COLUMNS, len(inner))
    return {
        "kind": token_kind(piece) + (" inside a word" if begun else ""),
        "word": (begun + piece.strip())[-_LONGEST:],
        "word before": words[-1][-_LONGEST:] if words else "",
        "mark before": "" if mark.isalnum() else mark,
        "line": _line_start(text[line_start:end] if piece.strip() or inner else ""),
        "line before": _line_start(above),
        "indent": "nothing" if not indent else f"{min(indent, _INDENT)}{' or more' * (indent >= _INDENT)}",
        "column": _COLUMN_NAMES[far] if inner else "at the start of a line",
    }


def token_kind(text: str) -> str:
    """How a token is written, in words.

    Examples:
        >>> from workbench.explain.rules.features import token_kind
        >>> token_kind(" the"), token_kind("GE"), token_kind("();"), token_kind("\\n")
        ('lower-case words after a space', 'capitals', 'punctuation', 'line breaks')
    """
    body = text.strip(" ")
    if "\n" in text:
        return "line breaks"
    if not body:
        return "blanks"
    lead = " after a space" if text.startswith(" ") else ""
    if body.isdigit():
        return "digits" + lead
    if body.isalpha():
        if body.islower():
            return ("lower-case words" if lead else "lower-case letters") + lead
        if body.isupper():
            return ("single capitals" if len(body) == 1 else "capitals") + lead
        return ("capitalised words" if body[1:].islower() else "mixed-case words") + lead
    if not any(character.isalnum() for character in body):
        return "punctuation" + lead
    return "letters with other signs" + lead


def _earlier(token: NDArray[np.int64], position: NDArray[np.int64], by: int, none: int) -> NDArray[np.int64]:
    """The token ``by`` tokens earlier in the document, ``none`` where there is none."""
    return np.where(position >= by, np.roll(token, by), none)


def _seen(key: NDArray[np.int64]) -> NDArray[np.int64]:
    """1 where a row's key stands in an earlier row, else 0."""
    return pd.Series(key).duplicated().to_numpy().astype(np.int64)


def _numbered(values: Sequence[str]) -> Column:
    codes, names = pd.factorize(np.array(values, object))
    return codes.astype(np.int64), names.tolist()


def _through(column: Column, token: NDArray[np.int64]) -> Column:
    """A column of the vocabulary, read at tokens."""
    return column[0][token], column[1]


def _last(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[0] if found else ""


def _line_start(line: str) -> str:
    """The first word of a line with the marks in front of it."""
    found = _LINE_START.match(line)
    return found[1][:_LONGEST] if found else ""
