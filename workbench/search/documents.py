"""Documents whose text matches: a string or a regular expression, over all texts of a run, streamed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..errors import BadInputError, UnsupportedError
from ..store.runfiles import check_count

if TYPE_CHECKING:
    from ..store import Run

SHOWN = 50
AROUND = 60  # characters of a snippet before and after the match
MATCHED = 300  # characters of a match that a snippet shows
SPAN_TOKENS = 64  # tokens of a match at which experts are looked for
COLUMNS = ["doc", "label", "source", "start", "end", "first_row", "last_row", "before", "match", "after"]


@dataclass(frozen=True)
class Matches:
    """The documents that match.

    Attributes:
        total: number of documents that match.
        by_label: the same by label, those without any left out; most first.
        hits: some of the documents that match, each with its first match: see ``documents_matching``.
    """

    total: int
    by_label: pd.Series
    hits: pd.DataFrame


def read_pattern(text: str) -> tuple[str, bool]:
    """What a search box means: ``/regex/`` is a regular expression, anything else a plain string.

    Returns:
        The pattern, and whether it is a regular expression.

    Examples:
        >>> from workbench.search import read_pattern
        >>> read_pattern("/def \\\\w+/"), read_pattern("and/or")
        (('def \\\\w+', True), ('and/or', False))
    """
    regex = len(text) > 2 and text[0] == text[-1] == "/"
    return (text[1:-1], True) if regex else (text, False)


def documents_matching(
    run: Run, text: str, regex: bool = False, label: str | None = None, limit: int = SHOWN, offset: int = 0
) -> Matches:
    """Return the documents whose text holds a string or matches a regular expression.

    All documents are looked at and counted; ``limit`` of those that match are returned, each with its first match.
    Expressions are those of RE2 (https://github.com/google/re2/wiki/Syntax), whose time grows with the text alone.

    Args:
        run: an opened run.
        text: the string, or the expression; case counts, unless the expression begins with ``(?i)``.
        regex: whether it is an expression.
        label: only documents of this label.
        limit: number of hits, at most.
        offset: number of hits to pass over first.

    Returns:
        ``Matches``, whose hits have one row per document, in order, and the columns

        - doc, label, source: the document.
        - start, end: the match, as characters of the document's text.
        - first_row, last_row: token rows of its first and last token; -1 where it touches none.
        - before, match, after: the text there, shortened.

    Raises:
        BadInputError: the text is empty, is no regular expression, or matches the empty text; or ``limit`` or
            ``offset`` is not a whole number from 0.
        NotFoundError: there is no such label.
        UnsupportedError: the run holds no texts: its corpus came as token ids.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.search import documents_matching
        >>> found = documents_matching(open_run("runs/demo"), r"def \\w+\\(self", regex=True, label="python")
        >>> bool(found.total >= len(found.hits)), found.hits["label"].unique().tolist()
        (True, ['python'])
    """
    _check(text, regex)
    check_count("limit", limit)
    check_count("offset", offset)
    wanted = np.ones(len(run.labels), bool) if label is None else np.arange(len(run.labels)) == run.check_label(label)
    counts, any_text = np.zeros(len(run.labels), np.int64), False
    hits: list[dict[str, object]] = []
    for first, texts in run.texts():
        any_text |= texts.null_count < len(texts)
        found = np.flatnonzero(_places(texts, text, regex).fill_null(-1).to_numpy(zero_copy_only=False) >= 0)
        labels = run.document_labels[first + found]
        found, labels = found[wanted[labels]], labels[wanted[labels]]
        skip = max(offset - int(counts.sum()), 0)
        counts += np.bincount(labels, minlength=len(counts))
        shown = found[skip : skip + limit - len(hits)]
        hits += _hits(run, first + shown, texts.take(pa.array(shown)), text, regex)
    if not any_text and len(run.documents):
        raise UnsupportedError(f"{run.path} holds no texts (its corpus came as token ids), so they cannot be searched.")
    by_label = pd.Series(counts, run.labels).sort_values(ascending=False, kind="stable")
    return Matches(int(counts.sum()), by_label[by_label > 0], pd.DataFrame(hits, columns=COLUMNS))


def _check(text: str, regex: bool) -> None:
    if not text:
        raise BadInputError("the text to search for is empty; give at least one character.")
    try:
        empty = regex and pc.match_substring_regex(pa.array([""]), text)[0].as_py()
    except pa.ArrowInvalid as error:
        why = str(error).removeprefix("Invalid regular expression: ")
        raise BadInputError(
            f"{text!r} is no regular expression that can be used here: {why}. Mend it, or search for it as plain text; "
            "expressions are those of RE2, without look-around and back-references."
        ) from error
    except UnicodeEncodeError as error:
        raise BadInputError(f"the text is not Unicode: character {error.start + 1} is half of a pair.") from error
    if empty:
        raise BadInputError(f"the regular expression {text!r} matches the empty text, so it would match everywhere.")


def _places(texts: pa.Array, text: str, regex: bool) -> pa.Array:
    """The byte at which the first match of each text begins; -1 where there is none."""
    return (pc.find_substring_regex if regex else pc.find_substring)(texts, text)


def _hits(run: Run, docs: NDArray[np.int64], texts: pa.Array, text: str, regex: bool) -> list[dict[str, object]]:
    """A row of ``COLUMNS`` for each of some documents that match."""
    begins = _places(texts, text, regex).to_pylist()
    if regex:  # Arrow has no function for the length of a match, but one that takes the match away
        rest = pc.replace_substring_regex(texts, text, "", max_replacements=1)
        lengths = pc.subtract(pc.binary_length(texts), pc.binary_length(rest)).to_pylist()
    else:
        lengths = [len(text.encode())] * len(docs)
    hits: list[dict[str, object]] = []
    for doc, whole, begin, length in zip(docs.tolist(), texts.to_pylist(), begins, lengths, strict=True):
        encoded = whole.encode()
        start, end = (len(encoded[:place].decode()) for place in (begin, begin + length))
        first_row, last_row = _rows(run, doc, start, end)
        document = run.documents.iloc[doc]
        hits.append(
            {
                "doc": doc,
                "label": document["label"],
                "source": document["source"],
                "start": start,
                "end": end,
                "first_row": first_row,
                "last_row": last_row,
                "before": whole[max(start - AROUND, 0) : start],
                "match": whole[start : min(end, start + MATCHED)],
                "after": whole[end : end + AROUND],
            }
        )
    return hits


def _rows(run: Run, doc: int, start: int, end: int) -> tuple[int, int]:
    """First and last token row of the characters from ``start`` up to ``end``; -1 and -1 if there are none."""
    first, count = int(run.geometry.row[doc]), int(run.geometry.tokens[doc])
    tokens = run.tokens(slice(first, first + count))
    touched = np.flatnonzero((tokens["start"] < max(end, start + 1)) & (tokens["end"] > start))
    return (first + int(touched[0]), first + int(touched[-1])) if len(touched) else (-1, -1)


def strongest_experts(run: Run, hits: pd.DataFrame, group: int, n: int = 3) -> pd.DataFrame:
    """Return the experts of a group with the highest sum of scores over each match.

    Of a long match, the first 64 tokens count. A match in a document whose routing the run does not keep has none.

    Args:
        run: an opened run.
        hits: as ``documents_matching`` returns them.
        group: number of the group.
        n: experts per hit.

    Returns:
        One row per hit and expert, best first, and columns

        - hit: index of the hit.
        - expert
        - sum: of its routing scores over the tokens of the match.

    Raises:
        NotFoundError: there is no such group.
        BadInputError: ``n`` is not a whole number from 0.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.search import documents_matching, strongest_experts
        >>> run = open_run("runs/demo")
        >>> hits = documents_matching(run, "import", limit=2).hits
        >>> strongest_experts(run, hits, 0, n=3).groupby("hit").size().tolist()
        [3, 3]
    """
    check_count("n", n)
    touching = hits[hits["first_row"] >= 0]
    first = touching["first_row"].to_numpy(np.int64)
    counts = np.minimum(touching["last_row"].to_numpy(np.int64) - first + 1, SPAN_TOKENS)
    hit = np.repeat(np.arange(len(touching)), counts)
    rows = np.arange(len(hit)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    token, expert, score = (column.numpy(force=True) for column in run.kept_routing(rows, group).pairs())
    pair, which = np.unique(hit[token] * run.num_keys**2 + expert, return_inverse=True)
    of_hit, experts = np.divmod(pair, run.num_keys**2)
    table = pd.DataFrame({"hit": touching.index.to_numpy()[of_hit], "expert": experts})
    table["sum"] = np.bincount(which, score, len(pair))
    table = table.sort_values(["hit", "sum", "expert"], ascending=[True, False, True])
    return table.groupby("hit").head(n).reset_index(drop=True)
