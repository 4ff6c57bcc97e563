"""The page Compare: what each kind puts beside each other, against the analyses, and what is said of bad input."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

from workbench import open_run
from workbench.analysis import Prompt, compare_runs, pair_overlap, read_prompt
from workbench.dashboard.application import draw
from workbench.dashboard.comparing.experts import promoted_panel
from workbench.dashboard.comparing.forms import example_experts
from workbench.dashboard.comparing.prompts import compared_experts
from workbench.dashboard.comparing.runs import changed_experts
from workbench.dashboard.context import Context
from workbench.dashboard.edits import edited_experts, expert_edit, read_edit
from workbench.dashboard.pages import read_address
from workbench.dashboard.pages.compare import answer
from workbench.explain import logit_view
from workbench.jobs import Job, State
from workbench.store.address import Expert

Page = Callable[[Context, str], str]
PYTHON, LUA = "def add(a, b):\n    return a", "local x = 1\nprint(x)"


def _answer(ctx: Context, **query: str) -> str:
    drawn = answer(ctx, query)
    return str(drawn)


@pytest.mark.parametrize("kind", ["experts", "prompts", "edits", "runs"])
def test_every_kind_has_a_form_and_asks_for_nothing_yet(ctx: Context, page: Page, kind: str) -> None:
    shown = page(ctx, f"/compare?kind={kind}")
    assert "compare-form" in shown or "No run to compare with" in shown
    assert "compare-answer" not in shown


def test_the_form_opens_on_experts_that_can_be_compared(ctx: Context, page: Page) -> None:
    a, b = map(str, example_experts(ctx))
    shown = page(ctx, "/compare")
    assert f"'value': '{a}'" in shown
    assert f"'value': '{b}'" in shown
    assert "Tokens in common" in _answer(ctx, a=a, b=b)


def test_experts_show_the_tokens_they_share(ctx: Context) -> None:
    first, second = (Expert(group, int(ctx.run.top_experts(group, limit=1).index[0])) for group in (0, 1))
    found = pair_overlap(ctx.run.activations(*first), ctx.run.activations(*second))
    shown = _answer(ctx, a=f"{first}", b=f" {second} ")
    assert len(found.together) > 1
    for said in (f"{len(found.together):,} tokens where both", f"'{found.jaccard:.3f}'", f"'{found.cosine:.3f}'"):
        assert said in shown
    best = found.together.loc[(found.together["first"] * found.together["second"]).idxmax()]
    assert f"/documents/{best['doc']}?expert={first.group}%3A{first.id}&token={best['row']}" in shown
    assert f"/expert/{second.group}/{second.id}" in shown


def test_four_experts_make_six_pairs_and_doubles_count_once(ctx: Context) -> None:
    ids = [f"0:{expert}" for expert in ctx.run.top_experts(0, limit=4).index]
    shown = _answer(ctx, **dict(zip("abcd", ids, strict=True)))
    assert all(f"{a} and {b}" in shown for at, a in enumerate(ids) for b in ids[at + 1 :])
    assert "1 expert is named" in _answer(ctx, a=ids[0], b=ids[0])


def test_an_expert_that_is_never_active_has_no_numbers(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    known, unseen = map(int, ctx.run.top_experts(0, limit=2).index)
    experts, activations = ctx.experts(0).drop(index=unseen), ctx.activations
    monkeypatch.setattr(ctx, "experts", lambda group: experts)
    monkeypatch.setattr(ctx, "activations", lambda g, e: activations(g, e).iloc[: 0 if e == unseen else None])
    shown = _answer(ctx, a=f"0:{known}", b=f"0:{unseen}")
    assert f"0:{known} and 0:{unseen}" in shown
    assert "'–'" in shown
    monkeypatch.setattr("workbench.explain.logit_lens.expert_logits", lambda *_: None)
    assert "Promoted tokens" in str(promoted_panel(ctx, [Expert(0, known), Expert(0, unseen)]))


def test_promoted_tokens_are_those_of_the_logit_view(ctx: Context) -> None:
    experts = [Expert(group, int(ctx.run.experts(group)["mass"].idxmax())) for group in (0, 1)]
    shown = str(promoted_panel(ctx, experts).to_plotly_json())
    for expert in experts:
        view = logit_view(ctx.run, ctx.model(), *expert, 8)[:8]
        assert all(f"Strong('{logit:+.3f}')" in shown for logit in view["logit"])


def test_prompts_rank_the_experts_of_both(ctx: Context) -> None:
    model = ctx.model()
    readings = [read_prompt(model, Prompt.tokenise(ctx.tokenizer(), text, 256)) for text in (PYTHON, LUA)]
    table = compared_experts(readings, 5)
    for name, reading in zip(("first", "second"), readings, strict=True):
        top = reading.most_active(5)
        mine = table[table[f"{name}_rank"] <= 5].sort_values(f"{name}_rank")
        assert mine[["group", "expert"]].to_numpy().tolist() == top[["group", "expert"]].to_numpy().tolist()
        assert np.allclose(mine[name], top["score"])
        for row in table.itertuples():
            scores = reading.expert_scores(row.group, row.expert)
            assert getattr(row, name) == pytest.approx(float(scores.sum()), rel=1e-5)
    tops = [set(map(tuple, one.most_active(5)[["group", "expert"]].to_numpy().tolist())) for one in readings]
    assert table["both"].sum() == len(tops[0] & tops[1])
    assert len(table) == len(tops[0] | tops[1])
    shown = _answer(ctx, **{"text": PYTHON, "with": LUA})
    assert all(f"'{reading.loss():.3f}'" in shown for reading in readings)
    assert all(f"{100 * reading.next_tokens(1)['probability'][0]:.1f} %" in shown for reading in readings)


def test_edits_show_loss_and_next_tokens_under_none_and_each(ctx: Context) -> None:
    edits = {"edit": "top:3=0", "edit2": "top:9=2"}
    shown = _answer(ctx, text=PYTHON, **edits)
    model, prompt = ctx.model(), Prompt.tokenise(ctx.tokenizer(), PYTHON, 256)
    plain = read_prompt(model, prompt)
    readings = [plain]
    for text in edits.values():
        experts = edited_experts(read_edit({"edit": text}, ctx), ctx, plain)
        with model.edit_experts(expert_edit(experts, model)):
            readings.append(read_prompt(model, prompt))
    losses = [f"'{reading.loss():.3f}'" for reading in readings]
    assert len(set(losses)) == 3
    assert all(loss in shown for loss in losses)
    token = plain.next_tokens(1)["token"][0]
    assert all(f"{100 * reading.probabilities([token])[0]:.1f} %" in shown for reading in readings)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"a": "0:1"}, "1 expert is named"),
        ({"a": "0:1", "b": "x"}, "names no expert"),
        ({"a": "0:1", "b": "7:1"}, "There is no group 7"),
        ({"text": "x", "with": ""}, "The second text is empty"),
        ({"text": "x" * 9000, "with": "y" * 9000}, "the limit is"),
        ({"text": "x", "edit": "", "edit2": " "}, "Both edits are empty"),
        ({"text": "x", "edit": "nonsense"}, "names no expert"),
        ({"text": "x", "edit": "label:cobol=0"}, "cobol"),
        ({"run": "../run"}, "names no run"),
        ({"run": "missing"}, "There is no run"),
        ({"run": "x", "sort": "age"}, "cannot be sorted by"),
    ],
)
def test_bad_input_is_told_in_place(ctx: Context, query: dict[str, str], said: str) -> None:
    shown = _answer(ctx, **query)
    assert "Nothing was compared" in shown
    assert said in shown
    assert draw(ctx, read_address("/compare", urlencode(query))).status == 200


def test_an_unknown_kind_is_not_found(ctx: Context) -> None:
    assert draw(ctx, read_address("/compare", "kind=shoes")).status == 404


def test_what_was_typed_cannot_become_markup(ctx: Context, page: Page) -> None:
    link = "/compare?" + urlencode({"text": "<script>1</script>", "edit": "<b>=0"})
    assert "dangerously" not in page(ctx, link)
    assert "Markdown" not in page(ctx, link)


@pytest.fixture(scope="module")
def pair(run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A run with one beside it in which one expert changed its mass and another one its label."""
    folder = tmp_path_factory.mktemp("pair")
    for name in ("run", "beside"):
        shutil.copytree(run_path, folder / name)
    return Context(open_run(folder / "run"))


def test_runs_show_the_stored_divergence_or_how_to_measure_it(pair: Context, page: Page) -> None:
    assert "beside" in page(pair, "/compare?kind=runs")
    shown = page(pair, "/compare?run=beside")
    assert "Not measured yet" in shown
    assert "compare-answer" in shown
    other = open_run(Path(pair.run.path).parent / "beside")
    result = compare_runs(pair.run, other, pair.model(), pair.model(), documents=6)
    shown = page(pair, "/compare?run=beside")
    assert "mean divergence" in shown
    row = result.largest(1).iloc[0]
    assert f"/documents/{row['doc']}?token={row['row']}" in shown
    assert "Experts that changed most" in _answer(pair, run="beside")
    assert "No expert has another label" in _answer(pair, run="beside", sort="label")


def test_changed_experts_are_sorted_by_what_changed(pair: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.dashboard.comparing import runs

    plain = runs.joined(pair.run, pair.run)
    changed = plain.copy()
    changed.loc[3, ["other_rate", "change"]] += 0.5
    changed.loc[5, "other_tokens"] += 40
    changed.loc[7, "other_specialised"] = "another"
    monkeypatch.setattr(runs, "joined", lambda *_: changed.copy())
    tops: dict[str, Any] = {order: changed_experts(pair.run, pair.run, order) for order in runs.ORDERS}
    assert tops["mass"].index[0] == 3
    assert tops["density"].index[0] == 5
    assert tops["density"]["density_change"].iloc[0] == pytest.approx(40 / pair.run.tokens_total)
    assert tops["label"].index.tolist() == [7]


def test_a_job_that_compared_runs_leads_to_what_it_made(pair: Context, page: Page) -> None:
    pair.jobs.path.mkdir()
    other = f"{Path(pair.run.path).parent / 'beside'}"
    job = Job("0001", ("compare", f"{pair.run.path}", other), State.done, 1.0, 2.0, 3.0, 0)
    (pair.jobs.path / "0001.json").write_text(job.text())
    shown = page(pair, "/jobs")
    assert "'/compare?run=beside'" in shown
    assert "'/compare?kind=runs'" in shown  # where the other run of a new one is chosen
