"""Reading an exported run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from typing_extensions import deprecated

from ..errors import NotFoundError, UnsupportedError
from .manifest import read_manifest
from .ranking import best_experts
from .remote import Place, place
from .run_contexts import RunContexts
from .runfiles import check_count
from .schema import group_name


def open_run(path: str | Path) -> Run:
    """Open a complete run; nothing large is read yet.

    Args:
        path: folder of the run, or a URL that fsspec knows, such as ``s3://bucket/run``.

    Raises:
        NotFoundError: there is no run at ``path``.
        DamagedError: its manifest cannot be read.
        UnsupportedError: the run is half-written, or of another schema version; an older one can be migrated.

    Examples:
        >>> from workbench import open_run
        >>> run = open_run("runs/demo")
        >>> run.labels
        ['cpp', 'java', 'javascript', 'lua', 'php', 'prose', 'python']
        >>> run.groups, run.group_layers, run.num_keys**2
        ([0, 1], [0, 2], 262144)
    """
    where = place(path)
    manifest = read_manifest(where)
    if manifest["state"] != "complete":
        raise UnsupportedError(f"the run {where} is half-written; continue its export with --resume.")
    return Run(where, manifest)


class Run(RunContexts):
    """An exported run. Methods read what they need from disk; threads may share a run.

    A token row is the number of a token in the whole run, in corpus order; start-of-text tokens and padding have none.
    docs/run-format.md describes the files behind it.

    Attributes:
        model_path: folder or hub name of the model that was exported.
        path: folder of the run, or its remote place.
        manifest: what it was made from, and its files.
        labels: the corpus's labels, in alphabetical order.
        groups: numbers of the routing groups.
        group_layers: per group, the layer that owns its router.
        num_keys: E; a group has E * E experts, and expert (i, j) has the flat id i * E + j.
        heads: routing heads.
        transcoded: how well a transcoded model stands for its teacher; None for any other model.
        tokens_total: number of token rows.
    """

    def __init__(self, path: Place, manifest: dict[str, Any]) -> None:
        super().__init__(path, manifest)
        self.model_path: str = manifest["model"]["path"]

    # statistics

    def experts(self, group: int, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the statistics of every expert of a group that was active at least once.

        Args:
            group: number of the group.
            columns: those to read; all by default, which is slow where there are hundreds of labels.

        Returns:
            DataFrame with one row per expert; the index ``expert`` is its flat id, ascending. Columns

            - tokens: tokens where the expert is active
            - mass: its scores summed over them
            - mean: mass / tokens
            - max: highest score
            - tokens:{label}, mass:{label}: the same over the documents of each label

        Raises:
            NotFoundError: the run has no such group or column.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> run.experts(0).columns[:4].tolist()
            ['tokens', 'mass', 'mean', 'max']
        """
        file = self._file(group_name("experts", self.check_group(group)))
        known = [name for name in file.columns if name not in ("expert", "histogram")]
        chosen = known if columns is None else list(columns)
        if absent := set(chosen) - set(known):
            raise NotFoundError(f"experts have no column {min(absent)!r}.")
        return file.read(columns=["expert", *chosen]).to_pandas().set_index("expert")[chosen]

    def expert(self, group: int, expert: int) -> pd.Series:
        """Return one row of ``experts``, read without the others.

        Args:
            group: number of the group.
            expert: flat id.

        Returns:
            Series with the columns of ``experts``. Where the expert was never active, all are 0 and ``mean`` is
            missing.

        Raises:
            NotFoundError: the run has no such group or expert.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> best = run.top_experts(0, limit=1).index[0]
            >>> bool(run.expert(0, best)["mass"] == run.experts(0)["mass"].max())
            True
        """
        file = self._file(group_name("experts", self.check_group(group)))
        columns = [name for name in file.columns if name not in ("expert", "histogram")]
        table = self._of_expert("experts", group, expert, columns)
        row = table.to_pylist()[0] if len(table) else dict.fromkeys(columns, 0) | {"mean": np.nan}
        return pd.Series(row, name=index(expert))

    def top_experts(
        self,
        group: int,
        by: str = "mass",
        *,
        where: Mapping[str, tuple[float | None, float | None]] | None = None,
        ascending: bool = False,
        offset: int = 0,
        limit: int = 50,
    ) -> pd.DataFrame:
        """Return a page of ``experts``, sorted by one column, equal values by id; reads only what it needs.

        Args:
            group: number of the group.
            by: the column to sort by, or ``expert``.
            where: lowest and highest value of columns, both inclusive; None for no bound.
            ascending: lowest first.
            offset: experts to skip.
            limit: experts to return.

        Returns:
            DataFrame as ``experts`` returns it, in that order.

        Raises:
            NotFoundError: the run has no such group, or experts have no such column.
            BadInputError: ``offset`` or ``limit`` is not a whole number from 0.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> often = run.top_experts(0, "mass:lua", where={"tokens": (100, None)}, limit=3)
            >>> len(often), bool((often["tokens"] >= 100).all())
            (3, True)
        """
        file = self._file(group_name("experts", self.check_group(group)))
        span = check_count("offset", offset), check_count("limit", limit)
        return best_experts(file, by, dict(where or {}), ascending, *span)

    def histogram(self, group: int, expert: int) -> pd.DataFrame:
        """Return how many of an expert's active tokens have a score in each octave (a factor of 2), exactly.

        Args:
            group: number of the group.
            expert: flat id.

        Returns:
            DataFrame with one row per octave and columns

            - low, high: its bounds, low <= score < high; the first one begins at 0, and the last one includes ``high``
            - count: active tokens in it

        Raises:
            NotFoundError: the run has no such group or expert.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> best = run.top_experts(0, limit=1).index[0]
            >>> bool(run.histogram(0, best)["count"].sum() == run.expert(0, best)["tokens"])
            True
        """
        table = self._of_expert("experts", group, expert, ["histogram"])
        edges = self.manifest["histogram"]
        counts = table["histogram"][0].as_py() if len(table) else [0] * (len(edges) - 1)
        return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts})

    # highest-scoring and sampled tokens

    def examples(self, group: int, expert: int, n: int) -> pd.DataFrame:
        """Return an expert's highest-scoring tokens, highest first.

        A run keeps a limited number per expert (``--examples``), and few of one document.

        Args:
            group: number of the group.
            expert: flat id.
            n: how many at most.

        Returns:
            DataFrame with one row per token and columns

            - score: the expert's routing score, in float32
            - token: token id
            - token_text: its text
            - label, doc, source: the document's label, number and source
            - position: position in the document
            - window: number of the context window
            - row: the token row

        Raises:
            NotFoundError: the run has no such group or expert.
            BadInputError: ``n`` is not a whole number from 0.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> best = run.top_experts(0, limit=1).index[0]
            >>> run.examples(0, best, n=8)["score"].is_monotonic_decreasing
            True
        """
        table = self._of_expert("examples", group, expert, ["score", "row", "token"])[: check_count("n", n)]
        return self._described(table)

    def top_tokens(self, group: int, experts: Sequence[int], n: int) -> pd.DataFrame:
        """Return the highest-scoring tokens of several experts at once: faster than asking ``examples`` for each.

        Args:
            group: number of the group.
            experts: flat ids.
            n: how many tokens of each at most.

        Returns:
            DataFrame with one row per token, experts rising and scores falling, and columns expert, score and
            token_text. An expert that was never active has none.

        Raises:
            NotFoundError: the run has no such group or expert.
            BadInputError: ``n`` is not a whole number from 0.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> best = run.top_experts(0, limit=2).index.tolist()
            >>> run.top_tokens(0, best, n=3).groupby("expert")["token_text"].size().tolist()
            [3, 3]
        """
        wanted = np.array([self.check_expert(expert) for expert in experts], np.int64)
        file = self._file(group_name("examples", self.check_group(group)))
        table = file.among("expert", wanted, ["score", "row"]).to_pandas()
        table = table[table.groupby("expert").cumcount() < check_count("n", n)].reset_index(drop=True)
        return table.drop(columns="row").assign(token_text=self.row_text(table["row"].to_numpy()))

    def best_tokens(self, group: int) -> pd.DataFrame:
        """Return the tokens of ``examples`` of every expert of a group at once, without their texts.

        Args:
            group: number of the group.

        Returns:
            DataFrame with one row per kept token, experts rising and scores falling, and columns expert, score, token.

        Raises:
            NotFoundError: the run has no such group.

        Examples:
            >>> from workbench import open_run
            >>> open_run("runs/demo").best_tokens(0)["expert"].is_monotonic_increasing
            True
        """
        file = self._file(group_name("examples", self.check_group(group)))
        return file.read(columns=["expert", "score", "token"]).to_pandas()

    def examples_by_score(self, group: int, expert: int) -> pd.DataFrame:
        """Return a few tokens from each octave of an expert's scores, highest octave first.

        They show what an expert does when its score is not among the highest. There are at most three per octave, by a
        fixed choice among the expert's active tokens that looks random.

        Args:
            group: number of the group.
            expert: flat id.

        Returns:
            DataFrame with one row per token and columns

            - low, high: bounds of the octave
            - count: active tokens in it, as ``histogram`` has it
            - the columns of ``examples``

        Raises:
            NotFoundError: the run has no such group or expert.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> tokens = run.examples_by_score(0, run.top_experts(0, limit=1).index[0])
            >>> bool((tokens["score"] >= tokens["low"]).all()), int(tokens.groupby("low").size().max())
            (True, 3)
        """
        table = self._of_expert("intervals", group, expert, ["bin", "score", "row", "token"])
        octave = table["bin"].to_numpy()
        bounds = self.histogram(group, expert).iloc[octave].reset_index(drop=True)
        tokens = pd.concat([bounds, self._described(table)], axis=1)
        return tokens.iloc[np.argsort(-octave, kind="stable")].reset_index(drop=True)

    @deprecated("Use Run.examples_by_score: they are octaves of scores, not quantiles.")
    def quantile_examples(self, group: int, expert: int) -> pd.DataFrame:
        """Return ``examples_by_score``."""
        return self.examples_by_score(group, expert)

    def _described(self, table: pa.Table) -> pd.DataFrame:
        """Columns of ``examples`` for scores, rows and tokens."""
        rows, token = table["row"].to_numpy(), table["token"].to_numpy()
        doc, position = self.geometry.places(rows)
        return pd.DataFrame(
            {
                "score": table["score"].to_numpy(),
                "token": token,
                "token_text": self.row_text(rows),
                "label": self._labels_of(doc),
                "doc": doc,
                "position": position,
                "window": self.geometry.windows(doc, position)[0],
                "source": self.documents["source"].array[doc],
                "row": rows,
            }
        )

    # results of analyses

    def analysis_path(self, name: str) -> Path:
        """Return where an analysis keeps the file ``name``; what is written there goes to where the run is.

        Examples:
            >>> from workbench import open_run
            >>> open_run("runs/demo").analysis_path("mask.json").parts[-3:]
            ('demo', 'analysis', 'mask.json')
        """
        return self.path / f"analysis/{name}"

    # deprecated

    @deprecated("Use workbench.interop.write_delphi(run, path, group, experts, splits).")
    def to_safetensors_coo(
        self, path: str | Path, group: int, experts: Sequence[int] | None = None, splits: int = 5
    ) -> Path:
        """Write activations as a latent cache of EleutherAI's Delphi: see ``workbench.interop.write_delphi``."""
        from ..interop import write_delphi

        return write_delphi(self, path, group, experts, splits)

    @deprecated("Use workbench.interop.write_neuronpedia(run, path, group, experts).")
    def to_neuronpedia(self, path: str | Path, group: int, experts: Sequence[int]) -> Path:
        """Write experts as features for Neuronpedia: see ``workbench.interop.write_neuronpedia``."""
        from ..interop import write_neuronpedia

        return write_neuronpedia(self, path, group, experts)
