"""The experts of a text, against the scores of every token."""

from __future__ import annotations

from pathlib import Path

import pytest

from monet_model import MonetForCausalLM
from workbench import Run, open_run
from workbench.analysis import Prompt, read_analysis, read_prompt
from workbench.errors import BadInputError
from workbench.search import experts_of_text

TEXT = "def add(a):"


@pytest.fixture(scope="module")
def run(run_path: Path) -> Run:
    return open_run(run_path)


@pytest.fixture(scope="module")
def model(run: Run) -> MonetForCausalLM:
    return MonetForCausalLM.from_pretrained(run.model_path).eval()


def test_table_and_scores_are_those_of_the_tokens(run: Run, model: MonetForCausalLM) -> None:
    prompt = Prompt.tokenise(run.tokenizer(), TEXT, 64)
    scores = read_prompt(model, prompt).top_experts(run.num_keys**2)
    grouped = scores.groupby(["group", "expert"])["score"]
    found = experts_of_text(run, model, TEXT, limit=10_000)
    assert found.tokens == list(TEXT)
    assert found.total == len(found.table) == len(grouped)
    tokens = {group: run.experts(group)["tokens"] for group in run.groups}
    known = {group: read_analysis(run, group)["specialised"] for group in run.groups}
    for at, row in enumerate(found.table.itertuples(index=False)):
        own = grouped.get_group((row.group, row.expert))
        assert (row.sum, row.max) == pytest.approx((own.sum(), own.max()), rel=1e-5)
        assert row.frequency == len(own) == (found.scores[at] > 0).sum()
        assert found.scores[at].sum() == pytest.approx(row.sum, rel=1e-5)
        assert row.density == tokens[row.group].get(row.expert, 0) / run.tokens_total
        assert row.label == known[row.group].get(row.expert, "")


@pytest.mark.parametrize("by", ["sum", "max", "frequency"])
def test_ranks_by_what_is_asked(run: Run, model: MonetForCausalLM, by: str) -> None:
    every = experts_of_text(run, model, TEXT, by, limit=10_000)
    assert every.table[by].is_monotonic_decreasing
    top = experts_of_text(run, model, TEXT, by, limit=4)
    assert top.table.equals(every.table.head(4))
    assert (top.scores == every.scores[:4]).all()


def test_density_leaves_out_what_is_always_on(run: Run, model: MonetForCausalLM) -> None:
    every = experts_of_text(run, model, TEXT, limit=10_000)
    middle = float(every.table["density"].median())
    some = experts_of_text(run, model, TEXT, density=middle, limit=10_000)
    assert 0 < len(some.table) < len(every.table)
    assert some.table["density"].max() <= middle
    assert some.total == every.total


def test_before_an_analysis_there_are_no_labels(bare_run_path: Path, model: MonetForCausalLM) -> None:
    table = experts_of_text(open_run(bare_run_path), model, TEXT).table
    assert set(table["label"]) == {""}
    assert not table["confirmed"].any()


@pytest.mark.parametrize("wrong", [{"by": "luck"}, {"density": 0}, {"density": 2}, {"limit": -1}, {"text": ""}])
def test_bad_choices_are_refused(run: Run, model: MonetForCausalLM, wrong: dict) -> None:
    with pytest.raises(BadInputError, match="ranked by|density|limit|empty"):
        experts_of_text(run, model, **({"text": TEXT} | wrong))
