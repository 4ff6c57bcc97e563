"""Explanations as a run stores them: one per expert, kind and author, written together, read and searched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from numpy.typing import NDArray

from ..errors import BadInputError, DamagedError, UnsupportedError
from ..store.files import write_parquet

if TYPE_CHECKING:
    from ..analysis.encoder import Encoder
    from ..store import Run

FILE = "explanations.parquet"
KEY = ["group", "expert", "kind", "author"]
TASKS = ("detection", "fuzzing")
SCORES = [f"{task}{end}" for task in TASKS for end in ("", ":low", ":high", ":control")]
MEASURES = ("balanced_accuracy", "average_precision")
AT_ALL = ":any"  # ends the name of what is measured at all tokens at which an expert is active, weak ones too
MEASURED = [f"{measure}{end}" for measure in MEASURES for end in ("", ":control", ":token")]
MEASURED.append(f"average_precision{AT_ALL}")
FORMER_NAMES = {"silent": "negatives"}  # columns of older files, shown beside the new ones for a release
ENOUGH_WORDS = 0.5  # of a query, by weight, that an explanation must have to be found by them
_WORD = re.compile(r"\w+")
SCHEMA = pa.schema(
    [
        ("group", pa.int32()),
        ("expert", pa.int32()),
        ("kind", pa.string()),
        ("author", pa.string()),
        ("text", pa.string()),
        ("judge", pa.string()),  # "" without scores
        ("active", pa.int32()),  # passages scored where the expert is active
        ("negatives", pa.int32()),  # passages scored where it is active at no token
        *((name, pa.float64()) for name in SCORES),  # NaN with too few passages, or without a control
        *((name, pa.float64()) for name in MEASURED),  # of rules; NaN for others; files of before have none
    ]
)


def read_explanations(run: Run, group: int | None = None, expert: int | None = None) -> pd.DataFrame:
    """Return the explanations stored in a run, of all experts or of one.

    Args:
        run: an opened run.
        group: of this group only. Default: all groups.
        expert: of this flat expert id only. Default: all experts.

    Returns:
        One row per expert, kind and author, sorted by these; no rows where nothing has been explained.

        - group, expert: which expert.
        - kind: ``template``, ``rule``, ``self``, ``endpoint`` or ``person``.
        - author: name of the model or person.
        - text: the explanation.
        - judge: who scored it; "" without scores.
        - active: number of passages it was scored on where the expert is active.
        - negatives: number of passages it was scored on where the expert is active at no token.
        - detection, fuzzing: balanced accuracy, 0.5 being chance; NaN with too few passages.
        - detection:low, detection:high, fuzzing:low, fuzzing:high: its 95 % CI.
        - detection:control, fuzzing:control: balanced accuracy of another expert's explanation on these passages.
        - balanced_accuracy, average_precision: how well a rule tells the tokens where the expert is strongly active,
          those that hold nine tenths of its mass, over all tokens of the documents it is scored on; NaN for other kinds
          and where the expert is strongly active at none of them.
        - balanced_accuracy:control, average_precision:control: the same of another expert's rule.
        - balanced_accuracy:token, average_precision:token: the same of a rule that knows the token alone.
        - average_precision:any: how well the rule tells the tokens where the expert is active at all, weakly too.
        - silent: former name of ``negatives``, kept for one release.

    Raises:
        DamagedError: the file cannot be read.
        UnsupportedError: the file lacks columns: another version wrote it.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.explain import read_explanations
        >>> read_explanations(open_run("runs/demo")).columns[:6].tolist()
        ['group', 'expert', 'kind', 'author', 'text', 'judge']
    """
    table = with_former_names(_read(run.analysis_path(FILE)))
    if group is not None:
        table = table[table["group"] == group]
    if expert is not None:
        table = table[table["expert"] == expert]
    return table.reset_index(drop=True)


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return SCHEMA.empty_table().to_pandas()
    advice = "delete it and explain the experts again"
    try:
        table = pq.read_table(path)
        if "negatives" not in table.column_names:
            table = table.rename_columns([FORMER_NAMES.get(name, name) for name in table.column_names])
        for name in sorted(set(MEASURED) - set(table.column_names)):
            table = table.append_column(name, pa.nulls(len(table), pa.float64()))
        missing = set(SCHEMA.names) - set(table.column_names)
        if missing:
            lacks = ", ".join(sorted(missing))
            raise UnsupportedError(f"{path} lacks the columns {lacks}: another version wrote it; {advice}.")
        return table.select(SCHEMA.names).cast(SCHEMA).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise DamagedError(f"{path} is damaged ({error}); {advice}.") from error


def with_former_names(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the columns of ``FORMER_NAMES`` beside those that replaced them."""
    return table.assign(**{former: table[name] for former, name in FORMER_NAMES.items()})


def write_explanations(run: Run, rows: pd.DataFrame) -> None:
    """Add explanations to a run; they replace those of the same expert, kind and author.

    Waits for other processes that are writing; a crash leaves the old file.
    """
    path = run.analysis_path(FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        together = pd.concat([_read(path), rows[SCHEMA.names]], ignore_index=True)
        kept = together.drop_duplicates(KEY, keep="last").sort_values(KEY)
        write_parquet(path, pa.Table.from_pandas(kept, schema=SCHEMA, preserve_index=False))


def search_explanations(run: Run, query: str, n: int = 20, encoder: Encoder | None = None) -> pd.DataFrame:
    """Return the stored explanations that contain a text or its words and, with an encoder, those of similar meaning.

    Rules are found by their words alone: they quote tokens, and there may be one for every expert.

    Args:
        run: an opened run.
        query: the text; case does not matter.
        n: number of rows, at most.
        encoder: of ``workbench.analysis.load_encoder``. Default: only explanations that contain the text or at least
            half of its words.

    Returns:
        Rows that contain the text first, then by words or similarity, whichever is higher; columns of
        ``read_explanations`` and:

        - contains: whether the explanation contains the text.
        - words: the part of the text's words that it has, rare ones counting more and those that no explanation has
          not at all.
        - similarity: cosine similarity with the query; NaN without an encoder, and for rules.

    Raises:
        BadInputError: the query is empty.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.explain import explain_experts, sample_experts, search_explanations
        >>> run = open_run("runs/demo")
        >>> explained = explain_experts(run, sample_experts(run, 2))
        >>> bool(search_explanations(run, "fires AT")["contains"].all())
        True
    """
    if not query.strip():
        raise BadInputError("the query is empty; give a word or a sentence to look for.")
    table = read_explanations(run)
    text = query.casefold()
    contains = np.array([text in explanation.casefold() for explanation in table["text"]], bool)
    words = _word_shares(table["text"].tolist(), text)
    similarity = np.full(len(table), np.nan)
    if encoder is not None and (table["kind"] != "rule").any():
        meant = (table["kind"] != "rule").to_numpy()
        similarity[meant] = (
            encoder.encode(table["text"][meant].tolist()).astype(np.float64) @ encoder.encode([query])[0]
        )
    rated = table.assign(contains=contains, words=words, similarity=similarity, match=np.fmax(words, similarity))
    rated = rated[contains | (words >= ENOUGH_WORDS) | ~np.isnan(similarity)]
    rated = rated.sort_values(["contains", "match"], ascending=False, kind="stable")
    return rated.drop(columns="match").head(n).reset_index(drop=True)


def _word_shares(texts: Sequence[str], query: str) -> NDArray[np.float64]:
    """(len(texts),) the part of a query's words that each text has, weighted by how rare they are."""
    wanted = sorted(set(_WORD.findall(query)))
    held = np.zeros((len(texts), len(wanted)), bool)
    for at, one in enumerate(texts):
        words = set(_WORD.findall(one.casefold()))
        held[at] = [word in words for word in wanted]
    having = held.sum(axis=0)
    weights = np.where(having, np.log1p(len(texts) / np.maximum(having, 1)), 0.0)
    return held @ weights / (weights.sum() or 1.0)
