"""A run's tables as the pages list and colour them, each read once and again when an analysis has written it anew."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from ..analysis import (
    SCORES,
    MaskResult,
    Overlap,
    Replication,
    Summary,
    interest,
    label_overlap,
    read_analysis_summary,
    read_mask,
)
from ..analysis.defaults import MIN_TOKENS
from ..analysis.specialisation.analyze_result import table_name
from ..errors import WorkbenchError
from ..explain import read_explanations
from ..explain.stored import FILE as EXPLANATIONS
from ..report.expert import mass_ranking
from ..report.label import top_tokens_of
from ..report.labels import natural_order
from ..report.origin import analysis
from ..report.palette import NO_LABEL_COLOUR, coloured_labels, label_colours
from ..store.token_text import visible
from .derived import NONE, Derived, Stamp, stamp_of

if TYPE_CHECKING:
    from ..store import Run

T = TypeVar("T")
CACHED_GROUPS = 8
CACHED_ACTIVATIONS = 4  # of experts: up to a row per token of the corpus each
CACHED_DERIVED = 64  # charts, maps and counts of groups, of up to half a megabyte
CACHED_DOCUMENTS = 64  # whose strongest experts are kept
SAMPLED_DOCUMENTS = 8  # whose text tells how many characters a token has
STATISTICS = ("tokens", "mass", "mean", "max")
PREVIEWED = 6  # top tokens on the line of an expert
GENERAL = ""  # the `specialised` value of an expert without a label
GENERALIST, TOO_LITTLE, UNKNOWN = "generalist", "too little data", "not analysed"  # why an expert has no label
INTEREST = ("token_entropy", "interest")


class Tables:
    """The tables of a run. Those of each group are kept in memory once read.

    An analysis that is run while the dashboard is up shows on the next page opened.

    Args:
        run: the opened run.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        tokens = {label: int(count) for label, count in run.label_tokens.items()}
        self.colours = label_colours(tokens)
        self.labels = natural_order(run.labels)  # as they are listed; codes follow run.labels
        self.coloured = natural_order(coloured_labels(tokens))
        self._derived = Derived(CACHED_DERIVED)
        self._tables = {group: run.analysis_path(table_name(group)) for group in run.groups}
        self._summary_file = run.analysis_path(f"{Summary.kind}.json")
        self._experts = lru_cache(maxsize=CACHED_GROUPS)(self._read_experts)
        self._listed = lru_cache(maxsize=CACHED_GROUPS)(self._read_listed)
        self._explanations = lru_cache(maxsize=CACHED_GROUPS)(self._read_explanations)
        self._all_explanations = lru_cache(maxsize=1)(lambda _stamp: read_explanations(self.run))
        self._explained_at = lru_cache(maxsize=1)(
            lambda stamp: self._all_explanations(stamp).groupby(["group", "expert"]).indices
        )
        self._ranking = lru_cache(maxsize=CACHED_GROUPS)(self._read_ranking)
        self._activations = lru_cache(maxsize=CACHED_ACTIVATIONS)(self.run.activations)
        self._document_experts = lru_cache(maxsize=CACHED_DOCUMENTS)(self._read_document_experts)
        self._overlap = cache(lambda labels: label_overlap(self.run, labels=labels))

    @property
    def analysed(self) -> bool:
        """Whether `monet analyze` has been run."""
        return all(self._stamp(group) != NONE for group in self.run.groups)

    @property
    def scored(self) -> bool:
        """Whether the documents of the corpus have a score."""
        return "score" in self.run.documents and bool(self.run.documents["score"].notna().any())

    @property
    def tested(self) -> bool:
        """Whether the analysis tested its experts against chance, so that some may be confirmed."""
        return self.analysed and all("q:ratio" in self.experts(group) for group in self.run.groups)

    def summary(self) -> Summary | None:
        """Settings and counts of the analysis; None where it is missing, or its file cannot be used."""
        return self._derived.get("summary", stamp_of(self._summary_file), self._read_summary)

    def _read_summary(self) -> Summary | None:
        with suppress(WorkbenchError):
            return read_analysis_summary(self.run)
        return None

    def of_summary(self, name: Hashable, make: Callable[[], T]) -> T:
        """What a page makes of ``summary`` or ``replication``, and is not to change: made once until that changes.

        Args:
            name: tells it from others, with all that it depends on beside the summary.
            make: makes it.
        """
        return self._derived.get(("summary", name), stamp_of(self._summary_file), make)

    def of_group(self, group: int, name: Hashable, make: Callable[[], T]) -> T:
        """What a page makes of ``experts`` or ``listed``, and is not to change: made once until the group is analysed
        again.

        Args:
            group: whose experts.
            name: tells it from others, with all that it depends on beside the group.
            make: makes it.
        """
        return self._derived.get((group, name), self._stamp(group), make)

    def of_file(self, file: str, name: Hashable, make: Callable[[], T]) -> T:
        """What a page makes of a file of the run's analyses, not to be changed: made once until that is written anew.

        Args:
            file: its name, such as ``scores.json``.
            name: tells it from others, with all that it depends on beside the file.
            make: makes it.
        """
        return self._derived.get((file, name), stamp_of(self.run.analysis_path(file)), make)

    def replication(self) -> Replication | None:
        """How well labels replicate on halves of the documents; None where the analysis did not look."""
        summary = self.summary()
        return None if summary is None else summary.replication

    @property
    def uncoloured(self) -> list[str]:
        """The labels that share the colour of the others, as they are listed; none of a run of few labels."""
        coloured = set(self.coloured)
        return [label for label in self.labels if label not in coloured]

    def _stamp(self, group: int) -> Stamp:
        """Changes when the group is analysed again; ``NONE`` where it has not been."""
        return stamp_of(self._tables[self.run.check_group(group)])

    def experts(self, group: int) -> pd.DataFrame:
        """Every active expert of a group, indexed by `expert`.

        Returns:
            `tokens`, `mass`, `mean` and `max`, then `specialised` (categorical: a label or ""), `confirmed`,
            `too_little` (active at too few tokens for the analysis to give it a label), every score that the run was
            analysed for, with its `q:{score}` if it was tested, `token_entropy` and `interest`. Before
            `monet analyze`, no expert is specialised, and monosemanticity and ratio are missing.
        """
        return self._experts(group, self._stamp(group))

    def _read_experts(self, group: int, _stamp: Stamp) -> pd.DataFrame:
        table, derived = self.run.experts(group, STATISTICS), analysis(self.run, group)
        names = [GENERAL, *self.run.labels]
        if derived is None:
            unknown = pd.Categorical([GENERAL] * len(table), names)
            known = table.assign(specialised=unknown, monosemanticity=np.nan, ratio=np.nan, confirmed=False)
            return known.assign(too_little=False).join(interest(self.run, group))
        columns = [name for score in SCORES for name in (score, f"q:{score}") if name in derived]
        known = table.join(derived[[*columns, "confirmed"]]).assign(
            specialised=pd.Categorical(derived["specialised"].reindex(table.index), names)
        )
        known["too_little"] = (known["specialised"] == GENERAL) & (known["tokens"] < self.min_tokens)
        return known.join(derived[list(INTEREST)] if "interest" in derived else interest(self.run, group))

    def row(self, group: int, expert: int) -> dict[str, Any] | None:
        """An expert's row of ``experts``, by column; None of one that was never active. A look-up in a table of columns
        of many kinds takes a hundred times as long."""
        columns, at = self._columns(group), self._at(group, expert)
        return None if at is None else {name: column[at] for name, column in columns.items()}

    def _columns(self, group: int) -> dict[str, Any]:
        """The columns of ``experts``, each to be indexed by place."""

        def made() -> dict[str, Any]:
            table = self.experts(group)
            names = np.array(table["specialised"].cat.categories, object)
            labels = names[table["specialised"].cat.codes.to_numpy()]
            return {name: table[name].to_numpy() for name in table.columns} | {"specialised": labels}

        return self.of_group(group, "columns", made)

    def _at(self, group: int, expert: int) -> int | None:
        """Which row of ``experts`` is an expert's."""
        ids = self.experts(group).index.to_numpy()
        at = int(np.searchsorted(ids, expert))
        return at if at < len(ids) and ids[at] == expert else None

    def rank(self, group: int, expert: int) -> int | None:
        """The place of an expert in ``ranking``, from 0; None of one that was never active."""

        def made() -> np.ndarray:
            order, ids = self.ranking(group), self.experts(group).index.to_numpy()
            ranks = np.empty(len(ids), np.int32)
            ranks[np.searchsorted(ids, order)] = np.arange(len(ids))
            return ranks

        at = self._at(group, expert)
        return None if at is None else int(self.of_group(group, "ranks", made)[at])

    @property
    def min_tokens(self) -> int:
        """Active tokens that the analysis needs to give an expert a label."""
        summary = self.summary()
        return MIN_TOKENS if summary is None else summary.settings.min_tokens

    def listed(self, group: int) -> pd.DataFrame:
        """The experts of a group as grids list them, most interesting first.

        Returns:
            `expert`, `specialised` (categorical: a label, or why there is none), `confirmed` (categorical: yes, no),
            `density`, and of `experts`: `interest`, `token_entropy`, `max`, `monosemanticity`, `mass`, `tokens`.
        """
        return self._listed(group, self._stamp(group))

    def _read_listed(self, group: int, _stamp: Stamp) -> pd.DataFrame:
        table = self.experts(group).sort_values("interest", ascending=False, kind="stable", na_position="last")
        kinds = [self.kind_name(self.without_label), self.kind_name(TOO_LITTLE)]
        codes = table["specialised"].cat.codes.to_numpy() + 1  # the kinds without a label come first
        codes = np.where(table["too_little"], 1, np.where(codes == 1, 0, codes))
        chosen = table[["interest", "token_entropy", "max", "monosemanticity", "mass", "tokens"]]
        return chosen.assign(
            specialised=pd.Categorical.from_codes(codes, [*kinds, *self.run.labels]),
            confirmed=pd.Categorical.from_codes(table["confirmed"].to_numpy(np.int8), ["no", "yes"]),
            density=table["tokens"] / self.run.tokens_total,
        ).reset_index(names="expert")

    def kind_name(self, kind: str) -> str:
        """What grids call experts without a label: a word that no label is."""
        return f"({kind})" if kind in self.run.labels else kind

    def previews(self, group: int, experts: Sequence[int]) -> list[str]:
        """The different texts of each expert's best tokens, on one line; "" of one that was never active."""
        return ["  ".join(map(visible, texts)) for texts in top_tokens_of(self.run, group, experts, PREVIEWED)]

    def explained(self, group: int, experts: Iterable[int] | None = None) -> dict[int, str]:
        """One stored explanation per expert of a group, of ``experts`` only if given; a person's comes first."""
        known = self._explanations(group, self._explanations_stamp())
        return known if experts is None else {expert: known[expert] for expert in experts if expert in known}

    def explanations(self, group: int, expert: int) -> pd.DataFrame:
        """The stored explanations of an expert, as ``read_explanations`` returns them.

        Raises:
            DamagedError: their file cannot be read.
            UnsupportedError: another version wrote it.
        """
        stamp = self._explanations_stamp()
        rows = self._explained_at(stamp).get((group, expert))
        table = self._all_explanations(stamp)
        return table.head(0) if rows is None else table.iloc[rows]

    def _explanations_stamp(self) -> Stamp:
        return stamp_of(self.run.analysis_path(EXPLANATIONS))

    def _read_explanations(self, group: int, stamp: Stamp) -> dict[int, str]:
        with suppress(WorkbenchError):
            table = self._all_explanations(stamp)
            table = table[table["group"] == group]
            best = table.iloc[np.argsort(table["kind"].to_numpy() != "person", kind="stable")]
            return best.drop_duplicates("expert").set_index("expert")["text"].to_dict()
        return {}

    def ranking(self, group: int) -> np.ndarray:
        """Flat ids of the active experts by mass, largest first; of equal ones the lower id comes first."""
        return self._ranking(group)

    def _read_ranking(self, group: int) -> np.ndarray:
        return mass_ranking(self.experts(group)["mass"])

    def codes(self, group: int) -> np.ndarray:
        """Map of a group, (E, E) whole numbers: -1 never active, 0 a generalist, n the n-th label (from 1), and one
        beyond the last label for too little data. It is not to be changed."""
        return self.of_group(group, "codes", lambda: self._read_codes(group))

    def _read_codes(self, group: int) -> np.ndarray:
        keys, table = self.run.num_keys, self.experts(group)
        codes = np.full(keys * keys, -1, np.int16)
        known = table["specialised"].cat.codes.to_numpy()
        codes[table.index.to_numpy()] = np.where(table["too_little"], len(self.run.labels) + 1, known)
        return codes.reshape(keys, keys)

    def specialised(self, group: int) -> pd.DataFrame:
        """Number of specialised experts of each label in a group, and how many of them are confirmed.

        Returns:
            Indexed by label; columns `experts` and `confirmed`. It is not to be changed.
        """
        return self.of_group(group, "specialised", lambda: self._count_specialised(group))

    def _count_specialised(self, group: int) -> pd.DataFrame:
        table = self.experts(group)
        counts = table.groupby("specialised", observed=False)["confirmed"].agg(["size", "sum"])
        counts = counts.set_axis(["experts", "confirmed"], axis=1).astype(int)
        return counts.set_axis(counts.index.astype(str)).reindex(self.run.labels, fill_value=0)

    def colour(self, label: str) -> str:
        """Colour of a label; grey for experts without one."""
        return self.colours.get(label, NO_LABEL_COLOUR)

    @property
    def without_label(self) -> str:
        """What an expert without a label is called if it is active at enough tokens to have one."""
        return GENERALIST if self.analysed else UNKNOWN

    def kind(self, group: int, expert: int) -> str:
        """Why an expert has no label: see ``without_label``; of one active at few tokens or none, too little data."""
        row = self.row(group, expert)
        return TOO_LITTLE if self.analysed and (row is None or row["too_little"]) else self.without_label

    def labelled(self, group: int, experts: Sequence[int]) -> list[tuple[str, str]]:
        """The label of each of some active experts, "" for none, and why it has none, as ``kind`` says it."""
        columns, at = self._columns(group), np.searchsorted(self.experts(group).index.to_numpy(), experts)
        few, other = TOO_LITTLE if self.analysed else UNKNOWN, self.without_label
        rows = zip(columns["specialised"][at].tolist(), columns["too_little"][at].tolist(), strict=True)
        return [(label, few if too_little else other) for label, too_little in rows]

    def prepare(self) -> None:
        """Read the tables that every page asks for; processes forked from this one share them."""
        for group in self.run.groups[:CACHED_GROUPS]:
            self.experts(group)
            self.ranking(group)
        _ = self.run.geometry, self.run.document_labels
        self.run.hold()

    def mask(self) -> MaskResult | None:
        """The masking matrix, or None where `monet mask` has not been run.

        Raises:
            DamagedError: its file is damaged.
            UnsupportedError: it is of another version or run.
        """
        return read_mask(self.run)

    def overlap(self, labels: Sequence[str]) -> Overlap:
        """How far some labels share experts."""
        return self._overlap(tuple(labels))

    @cached_property
    def characters_per_token(self) -> float | None:
        """Of a few documents spread over the corpus; None where they came as token ids."""
        documents = self.run.documents.query("tokens > 0")
        chosen = documents.iloc[np.unique(np.linspace(0, len(documents) - 1, SAMPLED_DOCUMENTS).astype(int))]
        texts = [self.run.text(int(doc)) for doc in chosen["doc"]]
        if not texts or None in texts:
            return None
        return sum(len(text or "") for text in texts) / int(chosen["tokens"].sum())

    def activations(self, group: int, expert: int) -> pd.DataFrame:
        """``Run.activations``; those of the experts viewed last are kept."""
        return self._activations(group, expert)

    def document_experts(self, doc: int, group: int, n: int) -> pd.DataFrame:
        """The ``n`` experts of a group with the largest sum of scores in a document; those read lately are kept."""
        return self._document_experts(doc, group, n)

    def _read_document_experts(self, doc: int, group: int, n: int) -> pd.DataFrame:
        from ..analysis.activations import document_experts

        return document_experts(self.run, doc, group, n)
