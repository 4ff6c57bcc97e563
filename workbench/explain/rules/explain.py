"""Explaining experts by rules: learned on three quarters of the documents, measured on every token of the rest.

1. Split the documents as for masking, and as for other explanations.
2. Learn each expert's rule on the first part (learn.py), and one that may name tokens alone.
3. On all tokens of the second part, measure how well the rule's scores say where the expert is strongly active
   (strong.py), beside the rule of tokens alone and another expert's rule.
4. By detection and fuzzing, with the rule itself as the judge: a passage is rated by its highest score, highlighted
   tokens by their mean score.
5. Store the sentence and the figures in the run, a batch of experts at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...analysis.specialisation.analyze_result import read_analysis
from ...analysis.specialisation.interest import READABLE_SCORE, READABLE_TOKENS
from ...errors import BadInputError, NotAnalysedError, shell_command
from ...progress import job
from ...store.address import Expert
from ..explain import NOT_SCORED, Explanations, controls_of, split_in_two
from ..passages import PASSAGE_TOKENS, active_tokens, sample_starts
from ..scoring import MAX_PASSAGES, MIN_PASSAGES, score_ratings
from ..stored import AT_ALL, TASKS, with_former_names, write_explanations
from .features import TOKEN_ALONE, read_features
from .learn import Lessons, learn_rule
from .measure import average_precision, balanced_accuracy
from .rule import Rule
from .strong import strong_activations

if TYPE_CHECKING:
    from ...store import Run

BATCH = 256  # experts explained, scored and written together; each one's control is another of its batch
KIND, AUTHOR = "rule", "monet"
_LEARNING, _PASSAGES = 0, 1  # what random numbers are for

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def readable_experts(run: Run) -> list[Expert]:
    """Return the experts that lists show first: confirmed, active at enough tokens, and with a high enough top score.

    Raises:
        NotAnalysedError: the run has not been analysed, or without the permutation test.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.explain import readable_experts
        >>> run = open_run("runs/demo")
        >>> all(run.expert(*expert)["tokens"] >= 20 for expert in readable_experts(run))
        True
    """
    found = []
    for group in run.groups:
        derived = read_analysis(run, group)
        if "confirmed" not in derived:
            raise NotAnalysedError(
                f"{run.path} was analysed without the permutation test that readable experts have passed; "
                f"run `{shell_command('analyze', run.path)}`, or name the experts to explain."
            )
        table = run.experts(group, ["tokens", "max"]).join(derived[["confirmed"]])
        readable = table["confirmed"] & (table["tokens"] >= READABLE_TOKENS) & (table["max"] >= READABLE_SCORE)
        found += [Expert(group, expert) for expert in table.index[readable].tolist()]
    return found


def explain_by_rules(
    run: Run, experts: Sequence[tuple[int, int]] | None = None, *, seed: int = 0, progress: bool = False
) -> Explanations:
    """Explain experts by rules, measure these on other documents, and store both in the run.

    A rule tells where an expert is strongly active: at the tokens that hold nine tenths of its mass. It quotes at most
    twelve texts and asks for at most six features of a token. What is finished stays if the rest is cancelled. The same
    run, experts and seed give the same rules.

    Args:
        run: an opened run of texts.
        experts: pairs (group, flat expert id), each once. Default: ``readable_experts``.
        seed: of the split, of the inactive tokens that are learned from, and of passages and controls.
        progress: show a progress bar.

    Returns:
        ``Explanations`` of kind ``rule``, with one row per expert; experts that are strongly active at no token of the
        measuring documents have no figures.

    Raises:
        BadInputError: no experts, one twice, or a label with too few documents to split.
        NotAnalysedError: no experts are given, and the run has not been analysed with the permutation test.
        NotFoundError: the run has no such group or expert.
        UnsupportedError: the run holds token ids without text.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.explain import explain_by_rules
        >>> run = open_run("runs/demo")
        >>> strongest = run.experts(0)["mass"].nlargest(2).index
        >>> explained = explain_by_rules(run, [(0, expert) for expert in strongest])
        >>> explained.table["kind"].tolist(), explained.table["text"][0].startswith("Fires ")
        (['rule', 'rule'], True)
    """
    chosen = readable_experts(run) if experts is None else [Expert(*expert) for expert in experts]
    if not chosen or len(set(chosen)) < len(chosen):
        raise BadInputError(f"give experts to explain, each once; got {len(chosen)}.")
    chosen = [Expert(run.check_group(group), run.check_expert(expert)) for group, expert in chosen]
    shown, scored = split_in_two(run, seed)
    doc = np.repeat(np.arange(len(run.documents)), run.documents["tokens"])
    lessons = Lessons.of(read_features(run), np.flatnonzero(shown[doc]))
    exam = _Exam(run, lessons, shown, scored, np.flatnonzero(scored[doc]), seed)
    tables = []
    with job("explain", len(chosen), "experts", progress) as advance:
        for start in range(0, len(chosen), BATCH):
            batch = chosen[start : start + BATCH]
            rows = []
            activations = [run.activations(*expert) for expert in batch]
            rules = []
            for expert, activity in zip(batch, activations, strict=True):
                strong, rng = strong_activations(activity, shown), np.random.default_rng([seed, *expert, _LEARNING])
                rules.append(learn_rule(lessons, active_tokens(run, strong), rng))
                advance()
            for expert, activity, rule, other in zip(batch, activations, rules, controls_of(rules, seed), strict=True):
                sentence = {"kind": KIND, "author": AUTHOR, "text": rule.sentence(lessons.features)}
                figures = exam.figures(expert, activity, rule, other)
                rows.append({"group": expert.group, "expert": expert.id, **sentence, **NOT_SCORED, **figures})
            tables.append(pd.DataFrame(rows))
            write_explanations(run, tables[-1])
    return Explanations(with_former_names(pd.concat(tables, ignore_index=True)), seed)


class _Exam:
    """Measures rules on the documents that they were not learned from."""

    judge: ClassVar[str] = "rule"

    def __init__(
        self, run: Run, lessons: Lessons, shown: Flags, scored: Flags, rows: NDArray[np.int64], seed: int
    ) -> None:
        self.run, self.lessons, self.shown, self.scored = run, lessons, shown, scored
        self.rows, self.seed = rows, seed

    def figures(self, expert: Expert, activity: pd.DataFrame, rule: Rule, other: Rule | None) -> dict[str, Any]:
        """The figures of a rule, of the token alone, and of another expert's rule."""
        activations = strong_activations(activity, self.shown)
        active = active_tokens(self.run, activations)
        alone = learn_rule(self.lessons, active, np.random.default_rng([self.seed, *expert, _LEARNING]), TOKEN_ALONE)
        rules = {"": rule, ":token": alone} | ({":control": other} if other is not None else {})
        found: dict[str, Any] = {}
        scores = {end: one.score(self.lessons.features.codes) for end, one in rules.items()}
        for end, one in rules.items():
            score, is_active = scores[end][self.rows], active[self.rows]
            if is_active.any():
                found[f"average_precision{end}"] = average_precision(score, is_active)
                found[f"balanced_accuracy{end}"] = balanced_accuracy(score >= one.threshold, is_active)
        anywhere = active_tokens(self.run, activity)[self.rows]
        if anywhere.any():
            found[f"average_precision{AT_ALL}"] = average_precision(scores[""][self.rows], anywhere)
        return found | self._passages(expert, activations, active, scores)

    def _passages(
        self, expert: Expert, activity: pd.DataFrame, active: Flags, scores: dict[str, Floats]
    ) -> dict[str, Any]:
        """Detection and fuzzing."""
        rng = np.random.default_rng([self.seed, *expert, _PASSAGES])
        starts = sample_starts(self.run, activity, self.scored, MAX_PASSAGES, rng)
        hits, misses = (at[:, None] + np.arange(PASSAGE_TOKENS) for at in starts)  # (passages, tokens)
        found: dict[str, Any] = {"judge": self.judge, "active": len(hits), "negatives": len(misses)}
        if min(len(hits), len(misses)) < MIN_PASSAGES:
            return found
        marked = active[hits]
        shuffled = marked[rng.permutation(np.arange(len(misses)) % len(hits))]
        true = np.arange(len(hits) + len(misses)) < len(hits)
        for end in ("", ":control"):
            if end not in scores:
                continue
            score = scores[end][np.concatenate([hits, misses])]
            highlights = np.concatenate([marked, shuffled])
            means = np.where(highlights, score, 0.0).sum(axis=1) / highlights.sum(axis=1)
            for task, rating in zip(TASKS, (score.max(axis=1), means), strict=True):
                judged = score_ratings(rating, true, None)
                found[f"{task}{end}"] = judged.accuracy
                if not end:
                    found |= {f"{task}:low": judged.low, f"{task}:high": judged.high}
        return found
