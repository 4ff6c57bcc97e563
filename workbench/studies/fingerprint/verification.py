"""Whether a model is the owner's: some keys are asked, and the hits counted against what chance could give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import binom

from ...errors import BadInputError
from ...explain.endpoint import Endpoint
from ...progress import Progress, silent
from .answers import next_token_logits
from .fingerprints import Fingerprints

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Asked = Callable[[Fingerprints], npt.NDArray[np.bool_]]  # whether each answer is the response
CERTAIN = 1e-4  # p below which a model is called the owner's
DOUBTFUL = 0.01  # p below which more keys should be asked


@dataclass(frozen=True)
class Verdict:
    """What asking some keys tells.

    Attributes:
        queries: keys asked.
        hits: answers that are the response.
        rate: the probability, at most, that a model which knows nothing of the secret gives a response: 1/k.
        p: the probability of as many hits or more at that rate, exactly: a binomial tail.
        temperature: at which answers were sampled; 0 for the likeliest token.
        verdict: in words.
    """

    queries: int
    hits: int
    rate: float
    p: float
    temperature: float
    verdict: str

    def to_json(self) -> dict[str, Any]:
        """The attributes by name."""
        return dict(self.__dict__)


def tail(hits: int, queries: int, rate: float) -> float:
    """The probability of ``hits`` or more in so many queries, each a hit at a rate: exact.

    Examples:
        >>> from workbench.studies.fingerprint.verification import tail
        >>> round(tail(5, 5, 1 / 3), 4), f"{tail(10, 10, 1 / 3):.1e}"
        (0.0041, '1.7e-05')
    """
    return float(binom.sf(hits - 1, queries, rate))


def verify_fingerprints(
    ask: Asked, fingerprints: Fingerprints, queries: int = 10, *, temperature: float = 0.0, seed: int = 0
) -> Verdict:
    """Ask a model some of the keys.

    Args:
        ask: who answers: ``of_model`` or ``of_endpoint``.
        fingerprints: the secret.
        queries: keys to ask, drawn without replacement.
        temperature: at which ``ask`` samples; 0 for the likeliest token. Only reported.
        seed: of the draw.

    Raises:
        BadInputError: there are not so many keys.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.fingerprint import Fingerprints, verify_fingerprints
        >>> many = Fingerprints("perinucleus", 3, b"secret", np.zeros((20, 4), int), np.zeros(20, int),
        ...                     np.full(20, 0.02), np.full(20, 0.7), seed=0, vocabulary=10)
        >>> verdict = verify_fingerprints(lambda asked: np.ones(len(asked), bool), many)
        >>> verdict.hits, verdict.p < 1e-4
        (10, True)
    """
    if not 1 <= queries <= len(fingerprints):
        raise BadInputError(f"queries must be 1 to {len(fingerprints)}, the number of keys; got {queries}.")
    rows = np.random.default_rng(seed).permutation(len(fingerprints))[:queries]
    hits = int(ask(fingerprints.take(rows)).sum())
    p = tail(hits, queries, fingerprints.rate)
    return Verdict(queries, hits, fingerprints.rate, p, temperature, _in_words(p))


def owner_p(hits: npt.NDArray[np.bool_], rate: float, queries: int = 10, draws: int = 1000) -> float:
    """The p that an owner gets from so many keys: the median over draws of them from all answers.

    Args:
        hits: (fingerprints,) whether each answer is the response.
        rate: see ``Fingerprints.rate``.
        queries: keys asked.
        draws: how often.
    """
    found = np.random.default_rng(0).hypergeometric(int(hits.sum()), int((~hits).sum()), queries, draws)
    return float(np.median(binom.sf(found - 1, queries, rate)))


def _in_words(p: float) -> str:
    if p < CERTAIN:
        return "fingerprinted: it gives the responses, and does not by chance"
    if p < DOUBTFUL:
        return "doubtful: chance alone seldom gives so many responses; ask more keys"
    return "no evidence: chance alone gives as many responses"


def of_model(model: PreTrainedModel, temperature: float = 0.0, seed: int = 0, times: int = 1) -> Asked:
    """Answers of a model in memory: the likeliest token after each key, or one sampled at a temperature.

    Args:
        model: who answers.
        temperature: of the samples; 0 for the likeliest token.
        seed: of the samples.
        times: samples of each key, of which the commonest is the answer; of equally common ones, the least token id.

    Raises:
        BadInputError: the temperature is negative; and when asked, the keys do not fit the model.
    """
    _check(temperature)

    def ask(fingerprints: Fingerprints) -> npt.NDArray[np.bool_]:
        logits = next_token_logits(model, fingerprints.keys)
        if temperature:
            generator = torch.Generator().manual_seed(seed)
            drawn = torch.multinomial((logits / temperature).softmax(-1), times, True, generator=generator)
            answers = drawn.mode(1).values
        else:
            answers = logits.argmax(1)
        return np.asarray(answers.numpy() == fingerprints.responses, np.bool_)

    return ask


def of_endpoint(
    endpoint: Endpoint, tokenizer: Any, temperature: float = 0.0, times: int = 1, progress: Progress = silent
) -> Asked:
    """Answers of a model behind OpenAI's completions, which is asked each key as text, for one token.

    The text of a key is cut into the key's tokens again: that is checked when keys are drawn. An answer is a hit if its
    text is that of the response behind the key.

    Args:
        endpoint: where the model is.
        tokenizer: of the fingerprinted model.
        temperature: at which the server samples.
        times: how often each key is asked; the commonest answer counts, the earliest of equally common ones.
        progress: called with the keys asked.

    Raises:
        BadInputError: the temperature is negative.
        UnsupportedError: when asked, the endpoint fails.
    """
    _check(temperature)

    def ask(fingerprints: Fingerprints) -> npt.NDArray[np.bool_]:
        found = np.zeros(len(fingerprints), np.bool_)
        for n, (key, response) in enumerate(
            zip(fingerprints.keys.tolist(), fingerprints.responses.tolist(), strict=True)
        ):
            prompt, whole = tokenizer.batch_decode([key, [*key, response]])
            given = Counter(endpoint.complete(prompt, temperature) for _ in range(times))
            found[n] = given.most_common(1)[0][0] == whole[len(prompt) :]
            progress()
        return found

    return ask


def _check(temperature: float) -> None:
    if temperature < 0:
        raise BadInputError(f"answers are sampled at a temperature of 0 or more, got {temperature:g}.")
