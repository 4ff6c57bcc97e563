"""A text read by a model in one forward pass: its tokens, their top experts, the next tokens, and their attribution.

1. Tokenise the text, once: ``Prompt``.
2. Run the model over it, once, and record every layer: ``read_prompt``.
3. Read everything else off the record: the top experts of each token from the sparse routing, the likeliest next tokens
   from the logits, and the direct logit attribution of any next token.

The prompt page, the text report and `monet attribute` read prompts here, under the same limit: the model's context. To
see what an edit changes, read the prompt twice, inside ``model.edit_experts(...)`` and outside.

Source: Park et al. 2024 (https://arxiv.org/abs/2412.04139), sections 3 (routing scores) and 4.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from ...checkpoint import load_model, model_folder
from ...errors import BadInputError, UnsupportedError
from ...store.token_text import load_tokenizer, token_pieces
from .direct import Attribution, ForwardPass
from .gradient import Faithfulness, attribute_gradient, rank_against_ablation
from .target import Target, check_length

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

    from monet_model import MonetForCausalLM

TOP_EXPERTS = 5  # per token and group
NEXT_TOKENS = 6
TOP_CONTRIBUTIONS = 12  # experts listed of a direct logit attribution


@dataclass(frozen=True)
class Prompt:
    """A text and its tokens.

    Attributes:
        text: the text.
        ids: token ids, with the start-of-text token (BOS) where the tokenizer adds one.
        pieces: the text of each of them.
        bos: whether the first is a start-of-text token.
        tokenizer: the tokenizer that made them.

    Examples:
        >>> from transformers import AutoTokenizer
        >>> from workbench.analysis import Prompt
        >>> tokenizer = AutoTokenizer.from_pretrained("monet_model/demo")
        >>> prompt = Prompt.tokenise(tokenizer, "public static void", context=256)
        >>> prompt.pieces
        ['<s>', 'public', ' static', ' void']
        >>> len(prompt.ids) == len(prompt.shown) + 1
        True
    """

    text: str
    ids: list[int]
    pieces: list[str]
    bos: bool
    tokenizer: PreTrainedTokenizerFast = field(repr=False, compare=False)

    @classmethod
    def tokenise(cls, tokenizer: PreTrainedTokenizerFast, text: str, context: int) -> Prompt:
        """Tokenise a text.

        Args:
            tokenizer: the model's tokenizer.
            text: the text.
            context: the most tokens that the model reads, ``model.config.max_position_embeddings``; the start-of-text
                token counts.

        Raises:
            BadInputError: the text is empty, no valid Unicode, or of more tokens than the context holds.
        """
        if not text:
            raise BadInputError("the text is empty; give at least one character.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadInputError(f"the text is not Unicode: character {error.start + 1} is half of a pair.") from error
        ids = list(tokenizer(text, verbose=False)["input_ids"])
        check_length(len(ids), context)
        return cls(text, ids, token_pieces(tokenizer, ids), ids[0] == tokenizer.bos_token_id, tokenizer)

    @property
    def shown(self) -> list[str]:
        """The pieces without the start-of-text token: together, the text."""
        return self.pieces[int(self.bos) :]

    def token_text(self, token: int) -> str:
        """The text of a token id; ``#17`` for one that the tokenizer does not know."""
        return token_pieces(self.tokenizer, [token])[0]


@dataclass(frozen=True)
class PromptReading:
    """What a model did with a prompt, under the edits in force at the time.

    Attributes:
        prompt: the text and its tokens.
        forward: the recorded forward pass.

    Examples:
        >>> from monet_model import MonetForCausalLM
        >>> from transformers import AutoTokenizer
        >>> from workbench.analysis import Prompt, read_prompt
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
        >>> tokenizer = AutoTokenizer.from_pretrained("monet_model/demo")
        >>> reading = read_prompt(model, Prompt.tokenise(tokenizer, "public static void", 256))
        >>> likely = reading.next_tokens(3)
        >>> bool(likely["probability"].is_monotonic_decreasing)
        True
        >>> for token in likely["token"]:  # explaining each takes no further forward pass
        ...     top = reading.top_contributions(reading.attribute(token), 3)
        >>> top.columns.tolist()
        ['layer', 'group', 'position', 'expert', 'contribution']
    """

    prompt: Prompt
    forward: ForwardPass

    def top_experts(self, n: int = TOP_EXPERTS) -> pd.DataFrame:
        """Return the experts of highest routing score at each token, in each group.

        Args:
            n: experts per token and group, at most; fewer where fewer are active.

        Returns:
            One row per token, group and expert, sorted by position, group and rank:

            - position: index into ``prompt.shown``, so the start-of-text token has no rows.
            - group: number of the routing group.
            - rank: from 1.
            - expert: flat expert id ``i * E + j``.
            - score: routing score, from 0 to the number of routing heads.
            - factor: what the edits in force scale the expert by; 1 without an edit, 0 for an ablated expert.
        """
        tables = []
        for group, layers in enumerate(self.forward.model.config.routing_groups):
            seen = self.forward.record.layers[layers.start]
            scores, experts = seen.routing[int(self.prompt.bos) :].top_experts(n)
            position, rank = (experts >= 0).nonzero(as_tuple=True)
            expert = experts[position, rank]
            factor = torch.ones(len(expert)) if seen.factors is None else seen.factors.flatten()[expert]
            columns = {"position": position, "rank": rank + 1, "expert": expert, "score": scores[position, rank]}
            table = pd.DataFrame({name: values.numpy(force=True) for name, values in columns.items()})
            table.insert(1, "group", group)
            tables.append(table.assign(factor=factor.numpy(force=True)))
        return pd.concat(tables).sort_values(["position", "group", "rank"], ignore_index=True)

    def _probabilities(self) -> Tensor:
        return self.forward.logits.float().softmax(-1)  # (vocabulary,)

    def next_tokens(self, n: int = NEXT_TOKENS) -> pd.DataFrame:
        """Return the likeliest next tokens, likeliest first.

        Returns:
            - token: token id.
            - token_text: its text.
            - probability: from 0 to 1.
        """
        likely = self._probabilities().topk(min(n, len(self.forward.logits)))
        tokens = likely.indices.tolist()
        texts = token_pieces(self.prompt.tokenizer, tokens)
        return pd.DataFrame({"token": tokens, "token_text": texts, "probability": likely.values.tolist()})

    def probabilities(self, tokens: Sequence[int]) -> list[float]:
        """Return the probability that each of the token ids comes next."""
        return [float(p) for p in self._probabilities()[list(tokens)]]

    def attribute(self, target: Target | None = None) -> Attribution:
        """Direct logit attribution of a next token, as ``workbench.analysis.attribute``, without a forward pass."""
        return self.forward.attribute(target)

    def top_contributions(self, attribution: Attribution, n: int = TOP_CONTRIBUTIONS) -> pd.DataFrame:
        """Return the ``n`` experts of largest absolute contribution to a logit, from the most positive down.

        Returns:
            - layer, group, position, expert: which expert, in which layer, at which position.
            - contribution: what it adds to the logit.
        """
        top = attribution.top(n).sort_values("contribution", ascending=False, kind="stable", ignore_index=True)
        groups = self.forward.model.config.layer_groups
        top.insert(1, "group", [groups[layer] for layer in top["layer"]])
        return top


def read_prompt(model: MonetForCausalLM, prompt: Prompt) -> PromptReading:
    """Run a model over a prompt once, and return all that can be read off that forward pass.

    Args:
        model: a Monet model in evaluation mode; edits in force count.
        prompt: the tokens, of the model's tokenizer.

    Returns:
        A ``PromptReading``.

    Raises:
        BadInputError: the prompt has more tokens than the model reads, ids outside its vocabulary, or the model is in
            training mode.

    Examples:
        >>> import torch
        >>> from monet_model import MonetForCausalLM
        >>> from transformers import AutoTokenizer
        >>> from workbench.analysis import Prompt, read_prompt
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
        >>> tokenizer = AutoTokenizer.from_pretrained("monet_model/demo")
        >>> prompt = Prompt.tokenise(tokenizer, "public static void", model.config.max_position_embeddings)
        >>> prompt.bos, prompt.shown
        (True, ['public', ' static', ' void'])
        >>> reading = read_prompt(model, prompt)
        >>> reading.next_tokens(1)["token_text"].tolist()
        [' get']
        >>> experts = reading.top_experts(2)
        >>> experts.columns.tolist()
        ['position', 'group', 'rank', 'expert', 'score', 'factor']
        >>> len(experts)  # 3 tokens, 2 groups, 2 experts each
        12
        >>> best = experts.iloc[-2]
        >>> edit = torch.ones(512, 512)
        >>> edit.view(-1)[int(best["expert"])] = 0
        >>> with model.edit_experts({2: edit}):
        ...     read_prompt(model, prompt).top_experts(2).iloc[-2]["factor"].item()
        0.0
    """
    return PromptReading(prompt, ForwardPass.run(model, torch.tensor([prompt.ids])))


@dataclass(frozen=True)
class TextAttribution:
    """What `monet attribute` prints: the attribution of a text's next token, with the texts of all tokens.

    Attributes:
        attribution: direct logit attribution of the target.
        pieces: the text's tokens, the start-of-text token included.
        target_text: text of the target token, or ``a - b`` for a difference.
        seconds: time of tokenising, forward pass and attribution; the model's loading does not count.
        gradient: rows of ``attribute_gradient``, largest first, if asked for.
        ablation: both attributions compared with true ablation, if asked for.
    """

    attribution: Attribution
    pieces: list[str]
    target_text: str
    seconds: float
    gradient: pd.DataFrame | None
    ablation: Faithfulness | None

    def to_json(self, top: int = 50) -> dict[str, Any]:
        """``Attribution.to_json`` with the tokens' texts, and gradient and ablation where they were asked for."""
        content: dict[str, Any] = {
            "tokens": self.pieces,
            "target_text": self.target_text,
            "seconds": self.seconds,
            **self.attribution.to_json(top),
        }
        if self.gradient is not None:
            content["gradient"] = self.gradient.head(top).to_dict("records")
        if self.ablation is not None:
            content["ablation"] = self.ablation.to_json()
        return content


def attribute_text(
    path: str | Path,
    text: str,
    target: str | None = None,
    *,
    minus: str | None = None,
    gradient: bool = False,
    ablations: int = 0,
) -> TextAttribution:
    """Attribute the next token's logit after a text, by a model on disk.

    One forward pass; ``gradient`` adds one, and ``ablations`` one for each expert ablated and two more.

    Args:
        path: folder or hub name of a model with a tokenizer.
        text: the prompt; the tokenizer puts its start-of-text token in front.
        target: text of the next token. Default: the model's likeliest one.
        minus: text of another token, whose logit is subtracted from the target's.
        gradient: also attribute by gradient, to every layer and position.
        ablations: experts to ablate one by one, to compare both attributions with; 0 for none.

    Raises:
        NotFoundError: there is no such model.
        UnsupportedError: the model has no tokenizer.
        BadInputError: the text is empty or too long, a target is not one token, ``minus`` comes without ``target``, or
            ``ablations`` is 1, which cannot be ranked.
    """
    if minus is not None and target is None:
        raise BadInputError(f"{minus!r} is to be subtracted from the target's logit; name the target too.")
    model, tokenizer = load_model(path), load_tokenizer(model_folder(path))
    if tokenizer is None:
        raise UnsupportedError(f"the model {path} has no tokenizer.json, so it cannot read text; add it to its folder.")
    token = None if target is None else read_token(tokenizer, target)
    wanted = token if token is None or minus is None else (token, read_token(tokenizer, minus))
    start = time.perf_counter()
    reading = read_prompt(model, Prompt.tokenise(tokenizer, text, model.config.max_position_embeddings))
    attribution = reading.attribute(wanted)
    seconds = time.perf_counter() - start
    explained = attribution.target
    assert explained is not None
    rows, ablation, ids = None, None, reading.forward.ids
    if gradient or ablations:
        rows = attribute_gradient(model, ids, explained)
    if rows is not None and ablations:
        ablation = rank_against_ablation(model, ids, explained, attribution.experts, rows, ablations)
    if rows is not None:
        rows = rows.sort_values("contribution", key=abs, ascending=False, kind="stable", ignore_index=True)
    pair = explained if isinstance(explained, tuple) else (explained,)
    return TextAttribution(
        attribution=attribution,
        pieces=reading.prompt.pieces,
        target_text=" - ".join(token_pieces(tokenizer, pair)),
        seconds=seconds,
        gradient=rows if gradient else None,
        ablation=ablation,
    )


def read_token(tokenizer: PreTrainedTokenizerFast, text: str) -> int:
    """Return the id of a text that is one token.

    Raises:
        BadInputError: it is not; the message lists its tokens.
    """
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        pieces = token_pieces(tokenizer, ids)
        raise BadInputError(f"the target {text!r} is {len(ids)} tokens ({pieces}); give one of them.")
    return int(ids[0])
