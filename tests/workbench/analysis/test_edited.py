"""Which experts an edit written as text names; what only a prompt tells is tested with the dashboard's edits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from monet_model import ExpertEdit, MonetForCausalLM, PositionedEdit
from workbench import open_run
from workbench.analysis import Prompt, edited, generate_text, read_analysis, read_prompt
from workbench.analysis.edited import check_labels, edited_experts, file_edit, model_edit, number_of_experts
from workbench.analysis.run_model import run_tokenizer
from workbench.errors import BadInputError, NotAnalysedError
from workbench.store.edit_text import read_edit_text


def test_labels_are_asked_for_only_where_they_are_named(run_path: Path) -> None:
    run = open_run(run_path)
    named = edited_experts(run, read_edit_text(run, "0:17=0.5, 0:3"), lambda group: pytest.fail("not needed"))
    assert named[["group", "expert", "factor"]].values.tolist() == [[0, 17, 0.5], [0, 3, 0.0]]
    assert len(edited_experts(run, read_edit_text(run, ""), lambda group: pytest.fail("not needed"))) == 0


@pytest.mark.parametrize(
    ("options", "rule"), [("", "tokens >= 0"), ("/confirmed", "confirmed"), ("/ratio:3", "ratio >= 3")]
)
def test_experts_of_a_label(run_path: Path, options: str, rule: str) -> None:
    run = open_run(run_path)
    tables = {group: run.experts(group, ("tokens",)).join(read_analysis(run, group)) for group in run.groups}
    named = edited_experts(run, read_edit_text(run, f"label:lua{options}=2"), tables.__getitem__)
    known = {
        (group, expert)
        for group, table in tables.items()
        for expert in table.query(f"specialised == 'lua' and {rule}").index
    }
    assert set(zip(named["group"], named["expert"], strict=True)) == known
    assert set(named["factor"]) <= {2.0}


def test_an_expert_of_its_own_row_keeps_its_factor(run_path: Path) -> None:
    run = open_run(run_path)
    tables = {group: read_analysis(run, group) for group in run.groups}
    of_label = tables[0].index[tables[0]["specialised"] == "lua"][0]
    named = edited_experts(run, read_edit_text(run, f"0:{of_label}=3, label:lua=0"), tables.__getitem__)
    assert named.query("group == 0 and expert == @of_label")["factor"].tolist() == [3.0]
    assert not named.duplicated(["group", "expert"]).any()


def test_what_a_run_or_request_lacks_is_said(run_path: Path) -> None:
    run = open_run(run_path)
    experts: Any = None
    with pytest.raises(NotAnalysedError, match="monet analyze"):
        check_labels(run, read_edit_text(run, "label:lua"), analysed=False)
    assert check_labels(run, read_edit_text(run, "0:1"), analysed=False)
    with pytest.raises(BadInputError, match="give the prompt too"):
        edited_experts(run, read_edit_text(run, "top:3=0"), experts)


@pytest.fixture(scope="module")
def model(run_path: Path) -> MonetForCausalLM:
    return MonetForCausalLM.from_pretrained(open_run(run_path).model_path).eval()


def _prompt(run_path: Path, model: MonetForCausalLM, text: str = "def f(x):") -> Prompt:
    return Prompt.tokenise(run_tokenizer(open_run(run_path)), text, model.config.max_position_embeddings)


def _made(run_path: Path, model: MonetForCausalLM, text: str, prompt: Prompt) -> ExpertEdit | PositionedEdit:
    run = open_run(run_path)
    edit = read_edit_text(run, text)
    tables = {group: read_analysis(run, group) for group in run.groups}
    named = edited_experts(run, edit, tables.__getitem__, read_prompt(model, prompt) if edit.reads_prompt else None)
    return model_edit(edit, named, model, prompt)


def test_rows_that_hold_at_some_tokens_decide_there_alone(run_path: Path, model: MonetForCausalLM) -> None:
    """At each token the factors are those of the rows that hold there: of one expert the later row, over a label."""
    run, prompt = open_run(run_path), _prompt(run_path, model)
    derived = read_analysis(run, 0)
    lua = [int(expert) for expert in derived.index[derived["specialised"] == "lua"]]
    others = [expert for expert in range(run.num_keys**2) if expert not in lua][:2]
    text = f"label:lua=0 @2-3, 0:{lua[0]}=3 @3-, 0:{others[0]}=2, 0:{others[0]}=1 @last, 0:{others[1]}=5 @3"
    made = _made(run_path, model, text, prompt)
    bos, tokens = int(prompt.bos), len(prompt.shown)
    assert tokens > 4
    with model.edit_experts(made):
        found = read_prompt(model, prompt).forward.record.layers[0]
    with_lua = _made(run_path, model, "label:lua=0", prompt)
    assert isinstance(with_lua, ExpertEdit)
    for token in range(1, tokens + 1):
        expected = torch.ones(run.num_keys**2)
        if token in (2, 3):
            expected = with_lua.matrices()[0].flatten().clone()
        if token >= 3:
            expected[lua[0]] = 3
        expected[others[0]] = 1 if token == tokens else 2
        expected[others[1]] = 5 if token == 3 else 1
        experts = torch.tensor([*lua, *others])
        at = found.factors_at((torch.tensor([0]), torch.tensor([token - 1 + bos])))
        assert at is not None
        assert not isinstance(at, torch.Tensor)
        assert torch.equal(at.at(torch.zeros_like(experts), experts), expected[experts])


def test_attribution_under_an_edit_of_some_tokens_is_complete(run_path: Path, model: MonetForCausalLM) -> None:
    prompt = _prompt(run_path, model)
    plain = read_prompt(model, prompt)
    with model.edit_experts(_made(run_path, model, "top:20=0 @2,last", prompt)):
        reading = read_prompt(model, prompt)
    attribution = reading.attribute()
    assert attribution.completeness < 1e-4
    earlier = reading.until(4)
    assert earlier.attribute().completeness < 1e-4
    assert earlier.top_experts()["factor"].eq(1).sum() > earlier.top_experts()["factor"].eq(0).sum()
    removed = reading.top_experts().query("factor == 0")
    assert set(removed["position"]) == {1, len(prompt.shown) - 1}
    first = reading.until(1)  # what comes before the edited tokens is as it was
    assert torch.equal(first.forward.record.final, plain.until(1).forward.record.final)


@pytest.mark.parametrize("places", ["last-", "3,12", "1-"])
def test_text_is_written_under_an_edit_of_some_tokens(run_path: Path, model: MonetForCausalLM, places: str) -> None:
    """Token by token with a cache, each what the whole text, read at once, predicts."""
    prompt = _prompt(run_path, model)
    made = _made(run_path, model, f"top:60=-3 @{places}", prompt)
    written = generate_text(model, prompt, edit=made, max_new_tokens=6)
    with torch.no_grad(), model.edit_experts(made):
        logits = model(torch.tensor([prompt.ids + written.tokens])).logits[0]
    assert logits[len(prompt.ids) - 1 : -1].argmax(-1).tolist() == written.tokens


def test_experts_of_rows_with_different_tokens_count_once(run_path: Path) -> None:
    run = open_run(run_path)
    named = edited_experts(run, read_edit_text(run, "0:17=0 @1, 0:17=2 @4, 0:3=0"), lambda group: pytest.fail("no"))
    assert (len(named), number_of_experts(named)) == (3, 2)


def test_an_edit_file_holds_everywhere(run_path: Path, model: MonetForCausalLM) -> None:
    run = open_run(run_path)
    edit = read_edit_text(run, "0:3=0, 0:17=0 @1,4-")
    named = edited_experts(run, edit, lambda group: pytest.fail("no"))
    with pytest.raises(BadInputError, match="an edit file holds at every token; leave out @1,4-, or keep"):
        file_edit(edit, named, model)
    assert len(file_edit(read_edit_text(run, "0:3=0"), named.head(1), model)) == 1


def test_too_many_kinds_of_tokens_are_refused(run_path: Path, model: MonetForCausalLM) -> None:
    text = ", ".join(f"0:{at}=0 @{at}" for at in range(1, edited.MOST_EDITS + 1))
    with pytest.raises(BadInputError, match="33 kinds of tokens; the limit is 32"):
        _made(run_path, model, text, _prompt(run_path, model))
    one = _made(run_path, model, f"0:1=0 @{','.join(str(2 * at) for at in range(1, 400))}", _prompt(run_path, model))
    assert isinstance(one, PositionedEdit)
    assert len(one.parts) == 1
