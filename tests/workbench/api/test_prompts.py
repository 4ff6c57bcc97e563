"""Prompts, attribution, generated texts and edits over HTTP are those of the packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monet_model import ExpertEdit, MonetForCausalLM
from workbench import Run
from workbench.analysis import Prompt, generate_text, read_analysis, read_prompt
from workbench.analysis.run_model import load_run_model, run_tokenizer
from workbench.client import ApiError, Client

TEXT = "def add(a, b):"


@pytest.fixture(scope="module")
def model(served: Any) -> MonetForCausalLM:
    return load_run_model(served.run)


@pytest.fixture
def prompt(run: Run, model: MonetForCausalLM) -> Prompt:
    return Prompt.tokenise(run_tokenizer(run), TEXT, model.config.max_position_embeddings)


def test_a_prompt(client: Client, model: MonetForCausalLM, prompt: Prompt) -> None:
    told, reading = client.prompt(TEXT, experts=2, next=4), read_prompt(model, prompt)
    assert told.tokens == prompt.shown
    assert told.experts["expert"].tolist() == reading.top_experts(2)["expert"].tolist()
    np.testing.assert_allclose(told.next["probability"], reading.next_tokens(4)["probability"], rtol=1e-5)
    assert told.next["before"].isna().all()
    assert told.loss == pytest.approx(reading.loss(), rel=1e-5)
    assert told.loss_before is None


def test_text_and_edit_share_the_limit_of_the_pages(client: Client) -> None:
    edit = "0:5=0, " * 2000
    for text, told in ((TEXT, "at most 64"), ("x" * 2001, "together have 16,001 characters; the limit is 16,000")):
        with pytest.raises(ApiError, match=told):
            client.prompt(text * (5 if text == TEXT else 1), edit=edit)
    with pytest.raises(ApiError, match="together have"):
        client.edit("0:5=0, " * 2000, text="x" * 2001)


def test_a_prompt_under_an_edit(client: Client, model: MonetForCausalLM, prompt: Prompt) -> None:
    best = read_prompt(model, prompt).most_active(1).iloc[0]
    group, expert = int(best["group"]), int(best["expert"])
    told = client.prompt(TEXT, edit=f"{group}:{expert}=0")
    edit = ExpertEdit.from_frame(model, pd.DataFrame({"group": [group], "expert": [expert], "factor": [0.0]}))
    with model.edit_experts(edit):
        under = read_prompt(model, prompt)
    np.testing.assert_allclose(told.next["probability"], under.next_tokens()["probability"], rtol=1e-5)
    before = read_prompt(model, prompt).probabilities(told.next["token"].tolist())
    np.testing.assert_allclose(told.next["before"], before, rtol=1e-5)
    assert told.edited == 1
    assert client.prompt(TEXT, edit="top:3=0").edited == 3


def test_a_prompt_under_an_edit_of_some_tokens(client: Client, model: MonetForCausalLM, prompt: Prompt) -> None:
    told = client.prompt(TEXT, edit="top:30=0 @2", experts=3)
    assert told.edited == 30
    removed = told.experts.query("factor == 0")
    assert set(removed["position"]) == {1}
    plain = read_prompt(model, prompt)
    assert told.loss_before == pytest.approx(plain.loss(), rel=1e-5)
    assert told.loss != told.loss_before
    written = client.generate(TEXT, edit="top:60=-3 @last-", max_new_tokens=4)
    assert written.text != client.generate(TEXT, max_new_tokens=4).text
    assert client.edit("0:3=0 @1,3-5, 0:3=2 @9").experts == 1
    with pytest.raises(ApiError, match="an edit file holds at every token"):
        client.edit_file("0:3=0 @1")


def test_an_attribution(client: Client, model: MonetForCausalLM, prompt: Prompt) -> None:
    told = client.attribute(TEXT, target="x", minus="#20", position=2, experts=6)
    reading = read_prompt(model, prompt).until(3)
    target = run_id(prompt, "x")
    known = reading.attribute((target, 20))
    assert (told.target, told.minus, told.target_text) == (target, 20, "x")
    assert told.logit == pytest.approx(known.logit, rel=1e-5)
    assert told.total == pytest.approx(told.logit, abs=1e-4)
    assert told.experts["expert"].tolist() == reading.top_contributions(known, 6)["expert"].tolist()
    assert told.tokens == prompt.shown[:3]
    assert client.attribute(TEXT).target == int(read_prompt(model, prompt).forward.logits.argmax())


def run_id(prompt: Prompt, text: str) -> int:
    return int(prompt.tokenizer.convert_tokens_to_ids(text))


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0, "seed": 5}])
def test_a_generated_text(client: Client, model: MonetForCausalLM, prompt: Prompt, settings: dict[str, Any]) -> None:
    told, known = (
        client.generate(TEXT, max_new_tokens=4, **settings),
        generate_text(model, prompt, max_new_tokens=4, **settings),
    )
    assert (told.text, told.ended) == (known.text, known.ended)
    assert told.tokens["token"].tolist() == known.tokens
    np.testing.assert_allclose(told.tokens["probability"], known.probability, rtol=1e-5)
    assert [one["token"] for one in told.tokens["alternatives"][1]] == known.alternatives.query("position == 1")[
        "token"
    ].tolist()


def test_one_text_is_written_at_a_time(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a text is written, another request is refused, and both work again afterwards."""
    from workbench.analysis import generation

    refused: list[int] = []
    write = generation.generate_text

    def slow(*args: Any, **settings: Any) -> Any:
        with pytest.raises(ApiError, match="one at a time") as error:
            client.generate(TEXT, max_new_tokens=1)
        refused.append(error.value.status)
        return write(*args, **settings)

    monkeypatch.setattr(generation, "generate_text", slow)
    client.generate(TEXT, max_new_tokens=1)
    assert refused == [429]
    monkeypatch.setattr(generation, "generate_text", write)
    assert client.generate(TEXT, max_new_tokens=1).text


def test_an_edit_is_counted_and_written(run: Run, client: Client, model: MonetForCausalLM, tmp_path: Path) -> None:
    derived = [read_analysis(run, group)["specialised"] for group in run.groups]
    label = derived[0][derived[0] != ""].iloc[0]
    told = client.edit(f"label:{label}; 0:17=2")
    of_label = sum(int((column == label).sum()) for column in derived)
    kept = 0 if derived[0].get(17) == label else 1
    assert told.experts == of_label + kept
    assert told.removed == of_label - 1 + kept
    (tmp_path / "edit.safetensors").write_bytes(client.edit_file("0:17=0.5, 0:3=0"))
    edit = ExpertEdit.load(tmp_path / "edit.safetensors")
    edit.check(model)
    assert sorted(edit.experts[0].tolist()) == [3, 17]
    assert client.edit("top:2=0", text=TEXT).experts == 2
    with pytest.raises(ApiError, match="give the prompt too"):
        client.edit("top:2=0")


@pytest.mark.parametrize(
    ("ask", "status", "said"),
    [
        (lambda client: client.prompt("a" * 5000), 400, "the model reads at most"),
        (lambda client: client.prompt("a", edit="nonsense"), 400, "names no expert"),
        (lambda client: client.prompt("a", edit="label:cobol"), 404, "cobol"),
        (lambda client: client.prompt("a", edit="9:1"), 404, "no group 9"),
        (lambda client: client.attribute("a", target="zz"), 400, "zz"),
        (lambda client: client.attribute("a", position=1), 400, "no token 2"),
        (lambda client: client.attribute("a", target="#99999"), 400, "99999"),
        (lambda client: client.generate("a", max_new_tokens=129), 400, "max_new_tokens"),
        (lambda client: client.generate("a", temperature=-1), 400, "temperature"),
        (lambda client: client.edit(" , "), 400, "the edit is empty"),
    ],
)
def test_what_cannot_be_done_is_said(client: Client, ask: Any, status: int, said: str) -> None:
    with pytest.raises(ApiError, match=said) as error:
        ask(client)
    assert error.value.status == status
