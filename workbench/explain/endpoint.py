"""Explainer and judge behind any endpoint that speaks OpenAI's completions. Prompts: endpoint_prompts.py."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInputError, UnsupportedError
from . import endpoint_prompts
from .evidence import Evidence
from .passages import Passage
from .wording import one_line

if TYPE_CHECKING:
    import httpx

KEY_VARIABLE = "MONET_ENDPOINT_KEY"
TIMEOUT_SECONDS = 120.0  # of one answer
PASSAGES_PER_REQUEST = 5  # as in Delphi
_QUOTED_CHARACTERS = 300  # of an unexpected answer


@dataclass(frozen=True)
class Endpoint:
    """A language model behind a URL that speaks OpenAI's chat completions, or its completions.

    Attributes:
        url: base of its paths, such as ``http://127.0.0.1:8000/v1``.
        model: the model's name there.
        key: sent as a bearer token; None for no key.
        timeout: seconds to wait for one answer.

    Raises:
        BadInputError: the URL does not begin with http:// or https://.

    Examples:
        >>> from workbench.explain import Endpoint
        >>> Endpoint("http://127.0.0.1:8000/v1", "llama", key="secret")  # the key is never printed
        Endpoint(url='http://127.0.0.1:8000/v1', model='llama', timeout=120.0)
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    timeout: float = TIMEOUT_SECONDS

    def __post_init__(self) -> None:
        if not re.match(r"https?://[^/]", self.url):
            raise BadInputError(f"an endpoint's URL begins with http:// or https://; got {self.url!r}.")

    def ask(self, system: str, document: object) -> str:
        """Return the model's answer to a JSON document under a system message, at temperature 0.

        Raises:
            UnsupportedError: no connection, no answer in time, a refusal, or an answer of another form.
        """
        messages = [
            {"role": "system", "content": system},
            {"role": "user", "content": json.dumps(document, ensure_ascii=False)},
        ]
        choice = self._post("chat/completions", {"temperature": 0, "messages": messages})
        return _text(choice, ("message", "content"), "chat completion")

    def complete(self, prompt: str, temperature: float = 0.0, tokens: int = 1) -> str:
        """Return how the model goes on with a text, by OpenAI's completions.

        Args:
            prompt: the text.
            temperature: at which the server samples; 0 for the likeliest token.
            tokens: how many to add.

        Raises:
            UnsupportedError: no connection, no answer in time, a refusal, or an answer of another form.
        """
        body = {"prompt": prompt, "max_tokens": tokens, "temperature": temperature}
        return _text(self._post("completions", body), ("text",), "completion")

    def _post(self, path: str, body: dict[str, object]) -> httpx.Response:
        import httpx

        headers = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        url = f"{self.url.rstrip('/')}/{path}"
        try:
            # Redirects are not followed, so that the key stays with the host it is meant for.
            answer = httpx.post(url, json={"model": self.model, **body}, headers=headers, timeout=self.timeout)
        except httpx.TimeoutException as error:
            raise UnsupportedError(f"{url} gave no answer in {self.timeout:g} seconds.") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnsupportedError(f"{url} cannot be reached: {error}") from error
        if answer.status_code != httpx.codes.OK:
            raise UnsupportedError(f"{url} answered {answer.status_code}: {_quoted(answer.text)}")
        return answer


def _text(answer: httpx.Response, path: tuple[str, ...], what: str) -> str:
    """The text of an answer's first choice, at a path of keys."""
    try:
        found = answer.json()["choices"][0]
        for key in path:
            found = found[key]
    except (ValueError, LookupError, TypeError):
        found = None
    if not isinstance(found, str):
        raise UnsupportedError(f"{answer.request.url} gave no {what} but {_quoted(answer.text)!r}.")
    return found


def _quoted(text: str) -> str:
    return one_line(text)[:_QUOTED_CHARACTERS]


@dataclass(frozen=True)
class EndpointExplainer:
    """An explainer that asks a language model for a sentence, from the evidence.

    Attributes:
        endpoint: the language model.

    Examples:
        >>> from workbench.explain import Endpoint, EndpointExplainer
        >>> EndpointExplainer(Endpoint("http://127.0.0.1:8000/v1", "llama")).author
        'llama'
    """

    kind: ClassVar[str] = "endpoint"
    endpoint: Endpoint

    @property
    def author(self) -> str:
        """The model's name."""
        return self.endpoint.model

    def explain(self, evidence: Evidence) -> str:
        """Return the model's answer, on one line.

        Raises:
            UnsupportedError: the endpoint fails, or its answer is empty.
        """
        text = one_line(self.endpoint.ask(endpoint_prompts.EXPLAIN, evidence.to_json()))
        if not text:
            raise UnsupportedError(f"{self.author} gave an empty explanation of expert {evidence.expert}.")
        return text


@dataclass(frozen=True)
class EndpointJudge:
    """A judge that asks a language model yes or no, ``PASSAGES_PER_REQUEST`` passages at a time.

    Attributes:
        endpoint: the language model.

    Examples:
        >>> from workbench.explain import Endpoint, EndpointJudge
        >>> judge = EndpointJudge(Endpoint("http://127.0.0.1:8000/v1", "llama"))
        >>> judge.name, judge.threshold
        ('llama', 0.5)
    """

    threshold: ClassVar[float] = 0.5
    endpoint: Endpoint

    @property
    def name(self) -> str:
        """The model's name."""
        return self.endpoint.model

    def rate(self, explanations: Sequence[str], passages: Sequence[Passage], marked: bool) -> NDArray[np.float64]:
        """Return 1 for yes and 0 for no, (explanations, passages). Passages are shuffled before they are asked about.

        Raises:
            UnsupportedError: the endpoint fails, or does not answer with one 0 or 1 per passage.
        """
        order = np.random.default_rng(0).permutation(len(passages))
        texts = [passages[at].marked_text if marked else passages[at].text for at in order]
        ratings = np.zeros((len(explanations), len(passages)))
        for number, explanation in enumerate(explanations):
            for start in range(0, len(texts), PASSAGES_PER_REQUEST):
                batch = texts[start : start + PASSAGES_PER_REQUEST]
                system = endpoint_prompts.FUZZ if marked else endpoint_prompts.DETECT
                answer = self.endpoint.ask(system, {"explanation": explanation, "passages": batch})
                ratings[number, order[start : start + len(batch)]] = self._read(answer, len(batch))
        return ratings

    def _read(self, answer: str, count: int) -> list[int]:
        """The first JSON list in an answer, checked to be ``count`` times 0 or 1."""
        match = re.search(r"\[[\s01,]*\]", answer)
        try:
            values: list[int] = json.loads(match[0]) if match else []
        except ValueError:
            values = []
        if len(values) != count or not set(values) <= {0, 1}:
            raise UnsupportedError(
                f"{self.name} should have answered with {count} times 0 or 1, and answered {_quoted(answer)!r}."
            )
        return values
