"""Explaining from end to end: which documents make and which score, controls, the same bytes, and what fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from monet_model import MonetForCausalLM
from workbench.analysis import analyze_run, load_encoder, read_analysis
from workbench.analysis.removal.heldout import HeldOut
from workbench.errors import NotFoundError, UnsupportedError, WorkbenchError
from workbench.explain import (
    EncoderJudge,
    Evidence,
    Passage,
    Person,
    Template,
    explain_experts,
    logit_view,
    most_informative_experts,
    random_experts,
    read_explanations,
    sample_experts,
    top_experts,
)
from workbench.explain.stored import FILE
from workbench.store import Run


@dataclass
class Named:
    """Explains an expert by its number; keeps the evidence; fails at one of them."""

    kind: str = "endpoint"
    author: str = "named"
    fails: int | None = None
    seen: list[Evidence] = field(default_factory=list)

    def explain(self, evidence: Evidence) -> str:
        if evidence.expert == self.fails:
            raise WorkbenchError("no answer")
        self.seen.append(evidence)
        return f"expert {evidence.expert}"


@dataclass
class Knowing:
    """A judge that knows for one expert's number what is so, and else says yes."""

    knows: str
    threshold: float = 0.5
    name: str = "knowing"
    asked: list[tuple[list[str], list[Passage]]] = field(default_factory=list)

    def rate(self, explanations: Sequence[str], passages: Sequence[Passage], marked: bool) -> np.ndarray:
        self.asked.append((list(explanations), list(passages)))
        active = np.arange(len(passages)) < sum(p.marked.any() for p in self.asked[2 * ((len(self.asked) - 1) // 2)][1])
        return np.array([active if text == self.knows else np.ones(len(passages)) for text in explanations], float)


def common_experts(run: Run, n: int) -> list[tuple[int, int]]:
    """Experts active at about one token in thirty, so that both kinds of passages are many."""
    distance = (run.experts(0)["tokens"] - run.tokens_total / 30).abs()
    return [(0, int(expert)) for expert in distance.nsmallest(n, "all").index[:n]]


def test_explain_experts_scores_and_controls(text_run: Run) -> None:
    experts = common_experts(text_run, 4)
    judge = Knowing(knows=f"expert {experts[1][1]}")
    found = explain_experts(text_run, experts, Named(), judge=judge)
    table = found.table
    assert list(zip(table["group"], table["expert"], strict=True)) == experts
    assert (table["judge"] == "knowing").all()
    assert (table[["active", "negatives"]] >= 6).all().all()
    for task in ("detection", "fuzzing"):
        assert table[task].tolist() == [0.5, 1.0, 0.5, 0.5]
        assert sorted(table[f"{task}:control"]) == [0.5, 0.5, 0.5, 1.0]  # its explanation, held against another
        assert table[f"{task}:control"][1] == 0.5
        mean = found.means()[task]
        assert (mean["experts"], mean["accuracy"], mean["control"]) == (4, 0.625, 0.625)
        assert mean["difference"] == 0
        assert mean["low"] < 0 < mean["high"]
    controls = [explanations[1] for explanations, _ in judge.asked[::2]]
    assert sorted(controls) == sorted(table["text"])
    assert all(control != own for control, own in zip(controls, table["text"], strict=True))
    assert found.to_json()["explanations"][1]["detection"] == 1.0


def test_explain_experts_scores_on_documents_that_explain_nothing(text_run: Run) -> None:
    explainer, judge = Named(), Knowing("")
    explain_experts(text_run, common_experts(text_run, 2), explainer, judge=judge)
    documents = HeldOut.split(text_run, 0).documents
    texts = {part: [text_run.text(d) for d in documents.loc[documents["measures"] == part, "doc"]] for part in (0, 1)}
    assert len(texts[0]) + len(texts[1]) == len(text_run.documents)
    made = [passage.text for evidence in explainer.seen for passage in evidence.passages]
    judged = [passage.text for _, passages in judge.asked for passage in passages]
    assert made
    assert judged
    assert all(any(piece in str(text) for text in texts[0]) for piece in made)
    assert all(any(piece in str(text) for text in texts[1]) for piece in judged)
    assert not set(made) & set(judged)


def test_explain_experts_with_a_model_lists_promoted_and_suppressed_tokens(text_run: Run) -> None:
    model = MonetForCausalLM.from_pretrained(text_run.model_path).eval()
    explainer = Named()
    (one,) = common_experts(text_run, 1)
    explain_experts(text_run, [one], explainer, model=model)
    evidence = explainer.seen[0]
    assert len(set(evidence.raised + evidence.lowered)) == 10
    view = logit_view(text_run, model, *one, n=1000).set_index("token_text")["logit"]
    assert view[evidence.raised].min() > 0 > view[evidence.lowered].max()


def test_explain_experts_with_the_same_seed_writes_the_same_bytes(text_run: Run) -> None:
    experts, judge = common_experts(text_run, 2), EncoderJudge(load_encoder())
    path = text_run.analysis_path(FILE)
    files, scores = [], []
    for seed in (0, 0, 1):
        scores.append(explain_experts(text_run, experts, judge=judge, seed=seed).table["detection"].tolist())
        files.append(path.read_bytes())
        path.unlink()
    assert files[0] == files[1]
    assert scores[0] != scores[2]
    assert all(0 <= score <= 1 for score in scores[0])


def test_explain_experts_stores_what_it_returns(text_run: Run) -> None:
    found = explain_experts(text_run, common_experts(text_run, 3)[::-1], Template())
    stored = read_explanations(text_run)
    expected = found.table.sort_values("expert").reset_index(drop=True)
    assert stored["text"].tolist() == expected["text"].tolist()
    assert (stored["author"] == "monet").all()
    assert stored["detection"].isna().all()
    assert found.means() == {}
    assert found.to_json()["explanations"][0]["fuzzing"] is None


def test_explain_experts_gives_a_single_expert_no_control(text_run: Run) -> None:
    (one,) = common_experts(text_run, 1)
    found = explain_experts(text_run, [one], Person("Ada", "anything"), judge=Knowing("anything")).table.loc[0]
    assert (found["kind"], found["author"], found["detection"]) == ("person", "Ada", 1.0)
    assert np.isnan(found["detection:control"])


def test_explain_experts_keeps_what_was_explained_before_a_failure(text_run: Run) -> None:
    experts = common_experts(text_run, 3)
    with pytest.raises(WorkbenchError, match="no answer"):
        explain_experts(text_run, experts, Named(fails=experts[2][1]))
    assert sorted(read_explanations(text_run)["expert"]) == sorted(expert for _, expert in experts[:2])


def test_explain_experts_refuses_what_cannot_be_explained(
    text_run: Run, golden_run: tuple[Run, MonetForCausalLM]
) -> None:
    for experts in ([], [(0, 1), (0, 1)]):
        with pytest.raises(WorkbenchError, match="each once"):
            explain_experts(text_run, experts)
    with pytest.raises(NotFoundError, match="no group 9"):
        explain_experts(text_run, [(9, 1)])
    with pytest.raises(NotFoundError, match="no expert -1"):
        explain_experts(text_run, [(0, -1)])
    with pytest.raises(UnsupportedError, match="ids without text, and explanations are scored on text"):
        explain_experts(golden_run[0], [(0, 1)], judge=Knowing(""))
    assert read_explanations(text_run).empty


def test_explain_experts_explains_runs_of_ids(golden_run: tuple[Run, MonetForCausalLM]) -> None:
    found = explain_experts(golden_run[0], [(1, 4)], model=golden_run[1])
    assert found.table["text"][0].startswith("Fires at “#")
    golden_run[0].analysis_path(FILE).unlink()


def test_most_informative_experts_are_those_of_highest_information(text_run: Run) -> None:
    with pytest.raises(WorkbenchError, match="has not been analysed"):
        most_informative_experts(text_run, 3)
    analyze_run(text_run, permutations=0)
    information = {
        (g, e): value for g in text_run.groups for e, value in read_analysis(text_run, g)["information"].items()
    }
    found = most_informative_experts(text_run, 5)
    assert [information[one] for one in found] == sorted(information.values(), reverse=True)[:5]


def test_sample_experts_are_sorted_and_often_enough_active(text_run: Run) -> None:
    found = sample_experts(text_run, 20, seed=1)
    assert found == sample_experts(text_run, 20, seed=1) == sorted(set(found))
    assert found != sample_experts(text_run, 20, seed=2)
    assert all(text_run.experts(group).loc[expert, "tokens"] >= 10 for group, expert in found)
    assert {group for group, _ in found} == {0, 1}


@pytest.mark.filterwarnings("error")
def test_former_names_of_the_choices_warn(text_run: Run) -> None:
    with pytest.warns(DeprecationWarning, match="use sample_experts"):
        assert random_experts(text_run, 3, seed=2) == sample_experts(text_run, 3, seed=2)
    analyze_run(text_run, permutations=0)
    with pytest.warns(DeprecationWarning, match="use most_informative_experts"):
        assert top_experts(text_run, 3) == most_informative_experts(text_run, 3)
