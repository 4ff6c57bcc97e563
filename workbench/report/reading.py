"""Running a text through a run's model: its tokens, the experts each uses most, and what pushes the next token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import WorkbenchError
from ..store.text import token_pieces

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerFast

    from monet_model import MonetForCausalLM

    from ..store import Run

MAX_CHARACTERS = 4_000
MAX_TOKENS = 512
TOP_EXPERTS = 5
NEXT_TOKENS = 6
PUSHES = 12


@dataclass(frozen=True)
class Push:
    """Direct logit attribution of the next token: what raised and lowered its logit.

    Attributes:
        target: text of the token.
        logit, total, completeness: its logit, the sum of all contributions, and how far they are apart.
        experts: columns layer, group, position, expert, contribution; the :data:`PUSHES` of largest magnitude, the
            most raising first.
        parts: columns component, contribution: all experts together, all attention, the embedding.
    """

    target: str
    logit: float
    total: float
    completeness: float
    experts: pd.DataFrame
    parts: pd.DataFrame


@dataclass(frozen=True)
class Reading:
    """What a text does to a model.

    Attributes:
        ids: token ids the model saw, (T,), the start-of-text token included where the tokenizer adds one.
        pieces: text of each token, without the start-of-text token.
        experts: for each group, for each piece, up to :data:`TOP_EXPERTS` pairs (flat expert id, score), best first.
        following: the likeliest next tokens, best first: id, text, probability.
    """

    ids: list[int]
    pieces: list[str]
    experts: dict[int, list[list[tuple[int, float]]]]
    following: list[tuple[int, str, float]]


def model_of(run: Run, path: str) -> MonetForCausalLM:
    """A model in evaluation mode that fits the run.

    Raises:
        WorkbenchError: there is no readable model at ``path``, or it has another number of experts or groups.
    """
    from ..checkpoint import load_model

    model = load_model(path)
    shape = (model.config.moe_experts, len(model.config.routing_groups))
    if shape != (run.num_keys, len(run.groups)):
        raise WorkbenchError(
            f"the model {path} has {shape[0]} keys and {shape[1]} layer groups, the run {run.path} has "
            f"{run.num_keys} and {len(run.groups)}: it is not the model of this run."
        )
    return model


def tokenizer_of(run: Run) -> PreTrainedTokenizerFast:
    """The run's tokenizer.

    Raises:
        WorkbenchError: the run has none.
    """
    tokenizer = run.tokenizer()
    if tokenizer is None:
        raise WorkbenchError(
            f"the run {run.path} has no tokenizer (its corpus came as token ids), so text cannot be read; export it "
            "again from a model folder that holds tokenizer.json."
        )
    return tokenizer


def encode_text(run: Run, text: str) -> list[int]:
    """Token ids of a text, by the run's tokenizer.

    Raises:
        WorkbenchError: the text is empty or too long, or the run has no tokenizer.
    """
    if not text:
        raise WorkbenchError("The text is empty: give the model something to read.")
    if len(text) > MAX_CHARACTERS:
        raise WorkbenchError(f"The text has {len(text):,} characters; the limit is {MAX_CHARACTERS:,}. Shorten it.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise WorkbenchError(f"The text is not Unicode: character {error.start + 1} is half of a pair.") from error
    ids = list(tokenizer_of(run)(text)["input_ids"])
    if len(ids) > MAX_TOKENS:
        raise WorkbenchError(f"The text has {len(ids):,} tokens; the limit is {MAX_TOKENS:,}. Shorten it.")
    return ids


def read_text(run: Run, model: MonetForCausalLM, text: str) -> Reading:
    """The strongest experts of each token of a text, and the likeliest next tokens.

    Raises:
        WorkbenchError: the text is empty or too long, or the run has no tokenizer.
    """
    import torch

    from monet_model import Routing

    ids, tokenizer = encode_text(run, text), tokenizer_of(run)
    if len(ids) > model.config.max_position_embeddings:
        raise WorkbenchError(
            f"The text has {len(ids):,} tokens; the model reads {model.config.max_position_embeddings:,}. Shorten it."
        )
    with torch.inference_mode():
        out = model(torch.tensor([ids]), output_router_probs=True)
        likely = out.logits[0, -1].float().softmax(-1).topk(NEXT_TOKENS)
    first = int(ids[0] == tokenizer.bos_token_id)
    experts = {}
    for group, layers in zip(run.groups, model.config.routing_groups, strict=True):
        scores, chosen = Routing.from_dense(*out.router_probs[layers.start])[first:].top_experts(TOP_EXPERTS)
        experts[group] = [
            [(e, s) for e, s in zip(row, marks, strict=True) if e >= 0]
            for row, marks in zip(chosen.tolist(), scores.tolist(), strict=True)
        ]
    following = [
        (token, token_pieces(tokenizer, [token])[0], probability)
        for token, probability in zip(likely.indices.tolist(), likely.values.tolist(), strict=True)
    ]
    return Reading(ids, token_pieces(tokenizer, ids[first:]), experts, following)


def probabilities(model: MonetForCausalLM, ids: list[int], tokens: list[int]) -> list[float]:
    """How likely each of some tokens is to follow the ids."""
    import torch

    with torch.inference_mode():
        logits = model(torch.tensor([ids]), logits_to_keep=1).logits[0, -1]
    return logits.float().softmax(-1)[tokens].tolist()


def read_push(run: Run, model: MonetForCausalLM, reading: Reading, target: int) -> Push:
    """Direct logit attribution of ``target`` as the token that follows a text."""
    import pandas as pd
    import torch

    from ..analysis import attribute

    found = attribute(model, torch.tensor([reading.ids]), target)
    experts = found.top(PUSHES).sort_values("contribution", ascending=False, kind="stable", ignore_index=True)
    rest = found.rest.set_index("component")["contribution"]
    spans = dict(zip(run.groups, model.config.routing_groups, strict=True))
    experts.insert(1, "group", [next(g for g, span in spans.items() if layer in span) for layer in experts["layer"]])
    return Push(
        target=token_pieces(tokenizer_of(run), [target])[0],
        logit=float(found.logit),
        total=float(found.total),
        completeness=float(found.completeness),
        experts=experts,
        parts=pd.DataFrame(
            {
                "component": ["all experts", "attention", "embedding"],
                "contribution": [found.experts["contribution"].sum(), rest.drop("embed").sum(), rest["embed"]],
            }
        ),
    )
