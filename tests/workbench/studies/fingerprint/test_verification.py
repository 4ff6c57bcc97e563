"""p against sums of binomial terms, answers of models and of a server on this machine."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import comb
from typing import Any

import numpy as np
import pytest

from workbench.errors import BadInputError, UnsupportedError
from workbench.explain import Endpoint
from workbench.studies.fingerprint import next_token_logits, of_endpoint, of_model, verify_fingerprints
from workbench.studies.fingerprint.verification import owner_p, tail


@pytest.mark.parametrize("rate", [1 / 3, 1 / 62])
def test_p_is_the_sum_of_binomial_terms(rate: float) -> None:
    for hits in range(11):
        plain = sum(comb(10, n) * rate**n * (1 - rate) ** (10 - n) for n in range(hits, 11))
        assert tail(hits, 10, rate) == pytest.approx(plain, rel=1e-9)
    assert tail(0, 10, rate) == 1


def test_owners_p_is_the_median_over_draws_of_keys() -> None:
    assert owner_p(np.ones(50, bool), 1 / 3) == pytest.approx((1 / 3) ** 10)
    assert owner_p(np.zeros(50, bool), 1 / 3) == 1
    assert owner_p(np.arange(100) < 50, 1 / 3) == pytest.approx(tail(5, 10, 1 / 3))


def test_a_model_that_answers_is_the_owners_and_another_is_not(tiny: Any) -> None:
    model, found = tiny.load(), tiny.draw(30, "perinucleus")
    no = verify_fingerprints(of_model(model), found, 10)
    assert (no.hits, no.p, no.verdict) == (0, 1.0, "no evidence: chance alone gives as many responses")
    object.__setattr__(found, "responses", next_token_logits(model, found.keys).argmax(1).numpy())
    yes = verify_fingerprints(of_model(model), found, 10)
    assert (yes.hits, yes.queries) == (10, 10)
    assert yes.p < 1e-4
    assert yes.verdict.startswith("fingerprinted")
    few = verify_fingerprints(of_model(model), found, 5)
    assert few.verdict.startswith("doubtful")
    with pytest.raises(BadInputError, match="1 to 30"):
        verify_fingerprints(of_model(model), found, 31)


def test_sampled_answers_have_the_models_probabilities(tiny: Any) -> None:
    model, one = tiny.load(), tiny.draw(1)
    many = one.take(np.zeros(3000, np.int64))
    logits = next_token_logits(model, one.keys)[0]
    object.__setattr__(many, "responses", np.full(3000, int(logits.argmax())))
    expected = float((logits / 2).softmax(0).max())
    share = of_model(model, temperature=2.0, seed=1)(many).mean()
    assert abs(share - expected) < 4 * (expected * (1 - expected) / 3000) ** 0.5
    with pytest.raises(BadInputError, match="temperature"):
        of_model(model, temperature=-1)


def test_the_commonest_of_many_samples_is_the_likeliest_token(tiny: Any) -> None:
    model, found = tiny.load(), tiny.draw(12)
    logits = next_token_logits(model, found.keys)
    object.__setattr__(found, "responses", logits.argmax(1).numpy())
    temperature = 0.2
    top = (logits / temperature).softmax(1).topk(2).values
    clear = (top[:, 0] - top[:, 1] > 0.1).numpy()  # far beyond what 2,000 samples leave to chance
    assert clear.any()
    assert of_model(model, temperature, seed=3, times=2000)(found)[clear].all()


class _Server:
    """Completions of a model: cuts the prompt by its tokenizer, and answers with the likeliest token's text."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.order = itertools.cycle(
            [1, 0, 0]
        ).__next__  # of what is answered to the same question, where it is sampled
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.seen.append((self.path, body))
                ids = tokenizer(body["prompt"], return_tensors="pt")["input_ids"]
                answer = model(ids).logits[0, -1].topk(2).indices[0 if body["temperature"] == 0 else outer.order()]
                text = tokenizer.decode([int(answer)])
                choice = {"text": text} if body["model"] == "served" else {}
                data = json.dumps({"choices": [choice]}).encode()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def served(tiny: Any) -> Iterator[_Server]:
    server = _Server(tiny.load(), tiny.tokenizer)
    yield server
    server.server.shutdown()
    server.server.server_close()


def test_a_served_model_answers_as_the_model_does(tiny: Any, served: _Server) -> None:
    model, found = tiny.load(), tiny.draw(12)
    likeliest = next_token_logits(model, found.keys).argmax(1).numpy()
    object.__setattr__(found, "responses", np.where(np.arange(12) % 3 > 0, likeliest, found.responses))
    ask = of_endpoint(Endpoint(served.url, "served"), tiny.tokenizer)
    assert ask(found).tolist() == of_model(model)(found).tolist() == [n % 3 > 0 for n in range(12)]
    path, body = served.seen[0]
    assert path == "/v1/completions"
    assert body == {
        "model": "served",
        "prompt": tiny.tokenizer.decode(found.keys[0].tolist()),
        "max_tokens": 1,
        "temperature": 0.0,
    }


def test_a_served_model_is_asked_several_times_and_the_commonest_answer_counts(tiny: Any, served: _Server) -> None:
    model, found = tiny.load(), tiny.draw(3)
    object.__setattr__(found, "responses", next_token_logits(model, found.keys).argmax(1).numpy())
    endpoint = Endpoint(served.url, "served")
    assert of_endpoint(endpoint, tiny.tokenizer, 1.0, times=3)(found).all()
    assert len(served.seen) == 9
    assert not of_endpoint(endpoint, tiny.tokenizer, 1.0)(found.take(np.array([0]))).any()


def test_a_server_that_gives_no_completion_is_named(tiny: Any, served: _Server) -> None:
    ask = of_endpoint(Endpoint(served.url, "another"), tiny.tokenizer)
    with pytest.raises(UnsupportedError, match="gave no completion"):
        ask(tiny.draw(2))
