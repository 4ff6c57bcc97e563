"""The reader's own text, the sentence on label and strongest tokens, and what is measured on demand."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench import open_run
from workbench.analysis import ablation_cost, output_directions
from workbench.api.models import MOST_CHARACTERS
from workbench.dashboard.application import app_of
from workbench.dashboard.computing import Computation
from workbench.dashboard.context import Context
from workbench.dashboard.expert.ablation import ABLATION
from workbench.dashboard.expert.header import label_against_examples
from workbench.dashboard.expert.measured import Measured
from workbench.dashboard.expert.related import SIMILAR, same_keys
from workbench.dashboard.expert.trial import trial
from workbench.errors import BadInputError, BusyError
from workbench.report.numbers import score_text
from workbench.store.address import Expert

TEXT = "def add(a, b):"


@pytest.fixture(scope="module")
def ctx(run_path: Path) -> Context:
    return Context(open_run(run_path))


@pytest.fixture(scope="module")
def strongest(ctx: Context) -> Expert:
    return Expert(0, int(ctx.run.experts(0)["mass"].idxmax()))


def test_own_text_shows_what_the_run_holds_of_the_same_text(ctx: Context, strongest: Expert) -> None:
    text = ctx.run.text(0)
    assert text is not None
    shown = str(trial(ctx, strongest, text[:60]))
    rows = np.arange(60)  # one token per character, and the model reads from the left
    scores = ctx.run.contexts(*strongest, [0], 0, 59).set_index("row")["score"].reindex(rows).to_numpy()
    assert f"{np.count_nonzero(scores)} of 60" in shown
    assert shown.count("token top") == 1
    best = int(scores.argmax())
    assert f"at token {best + 1}" in shown
    assert score_text(scores[best]) in shown


def test_own_text_that_cannot_be_read_is_refused(ctx: Context, strongest: Expert) -> None:
    for text, why in (("", "empty"), ("x" * (MOST_CHARACTERS + 1), "16,001 characters")):
        with pytest.raises(BadInputError, match=why):
            trial(ctx, strongest, text)


def test_sentence_stands_where_under_half_of_the_strong_tokens_are_of_the_own_label(ctx: Context) -> None:
    told = 0
    for id in ctx.run.experts(0).index[:40]:
        expert = Expert(0, int(id))
        examples = ctx.run.examples(*expert, n=32)
        counts = examples["label"].value_counts()
        assert label_against_examples(ctx, expert, "", 2.0, examples) is None
        for label, count in counts.items():
            agrees = 2 * count >= counts.sum()
            assert (label_against_examples(ctx, expert, str(label), 2.0, examples) is None) == agrees
        for other in counts.index[1:]:
            if counts[other] == counts.iloc[0]:
                continue  # both lead
            sentence = label_against_examples(ctx, expert, other, 3.14, examples).children  # type: ignore[union-attr]
            assert f"{other} by rate (3.1× the next label)" in sentence
            assert f"{counts.iloc[0]} of the {counts.sum()} strongest tokens are {counts.index[0]}" in sentence
            row = ctx.run.expert(*expert)
            more = row[f"tokens:{counts.index[0]}"] > row[f"tokens:{other}"]
            assert ("active at more tokens" in sentence) == more
            told += 1
    assert told


def test_sentence_says_that_the_own_label_leads_with_under_half(ctx: Context, strongest: Expert) -> None:
    for own, html, python, said in (
        (5, 4, 3, "only 5 of the 12 strongest tokens are lua too, and 4 of the 12 strongest tokens are html"),
        (6, 4, 2, None),
        (4, 5, 3, "label); 5 of the 12 strongest tokens are html"),
        (0, 0, 3, "label); 3 of the 3 strongest tokens are python"),
        (0, 0, 0, None),
    ):
        examples = pd.DataFrame({"label": ["lua"] * own + ["html"] * html + ["python"] * python})
        sentence = label_against_examples(ctx, strongest, "lua", 2.0, examples)
        assert (sentence is None) == (said is None)
        assert sentence is None or said in sentence.children  # type: ignore[operator]


def test_experts_of_the_same_key_are_those_of_most_mass(ctx: Context, strongest: Expert) -> None:
    shown = str(same_keys(ctx, strongest))
    mass = ctx.run.experts(0)["mass"].drop(strongest.id)
    i, j = divmod(strongest.id, ctx.run.num_keys)
    for chosen in (mass[mass.index // ctx.run.num_keys == i], mass[mass.index % ctx.run.num_keys == j]):
        best = chosen.nlargest(5).index
        assert all(f"'/expert/0/{other}'" in shown for other in best)
        assert all(f"'/expert/0/{other}'" not in shown for other in chosen.index.difference(best) if other not in best)


def _done(ctx: Context, panel: Measured, expert: Expert) -> Computation:
    ctx.computations.start(panel.job(expert), lambda report: panel.work(ctx, expert, report))
    while (found := ctx.computations.get(panel.job(expert))) is not None and found.running:
        time.sleep(0.05)
    assert found is not None
    assert found.error is None
    return found


def test_measured_panels_do_what_the_analyses_do(ctx: Context, strongest: Expert) -> None:
    job = _done(ctx, ABLATION, strongest)
    pd.testing.assert_frame_equal(job.result, ablation_cost(ctx.run, ctx.model(), *strongest))
    assert f"{job.result['rise'][0]:+.5f}" in str(ABLATION.show(ctx, strongest, job.result))
    assert "– to –" not in str(ABLATION.show(ctx, strongest, job.result.assign(low=np.nan, high=np.nan)))
    job = _done(ctx, SIMILAR, strongest)
    best = output_directions(ctx.run, ctx.model(), 0).similar(strongest.id, 1)
    assert f"/expert/0/{best['expert'][0]}" in str(SIMILAR.show(ctx, strongest, job.result))


def test_a_measurement_for_which_too_many_wait_says_so(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_of(ctx)
    (look,) = (one["callback"].__wrapped__ for name, one in app.callback_map.items() if "ablation-answer" in name)

    def refuse(*_: object) -> None:
        raise BusyError("8 others wait")

    monkeypatch.setattr(ctx.computations, "start", refuse)
    told, idle, button = look(1, 0, [0, 3], True)
    assert "8 others wait" in str(told)
    assert (idle, button) == (True, "inline-block")
