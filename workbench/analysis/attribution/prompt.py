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

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from monet_model.token_factors import factors_of

from ...errors import BadInputError, UnsupportedError
from ...store.token_text import token_pieces, whole_characters
from .direct import Attribution, ForwardPass
from .target import Target, check_length

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

    from monet_model import MonetForCausalLM

TOP_EXPERTS = 5  # per token and group
NEXT_TOKENS = 6
TOP_CONTRIBUTIONS = 12  # experts listed of a direct logit attribution
LOSS_POSITIONS = 256  # whose logits over the whole vocabulary are in memory at once


def _chat_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """The ids of a chat of one message, up to where the answer begins."""
    if not tokenizer.chat_template:
        raise UnsupportedError("the tokenizer has no chat template; leave out --chat, or take a model tuned for chats.")
    from jinja2 import TemplateError

    try:
        said: Any = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=True, return_dict=True
        )
    except TemplateError as error:
        raise BadInputError(f"the tokenizer's chat template refuses this text: {error}.") from error
    return list(said["input_ids"])


@dataclass(frozen=True)
class Prompt:
    """A text and its tokens.

    Attributes:
        text: the text.
        ids: token ids, with the start-of-text token (BOS) where the tokenizer adds one.
        pieces: the text of each of them.
        bos: whether the first is a start-of-text token.
        tokenizer: the tokenizer that made them.
        chat: whether the tokenizer's chat template stands around the text.

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
    chat: bool = False

    @classmethod
    def tokenise(cls, tokenizer: PreTrainedTokenizerFast, text: str, context: int, *, chat: bool = False) -> Prompt:
        """Tokenise a text.

        Args:
            tokenizer: the model's tokenizer.
            text: the text; the name of a control token in it, such as ``<s>``, is read as text.
            context: the most tokens that the model reads, ``model.config.max_position_embeddings``; the start-of-text
                token counts.
            chat: put the text into the tokenizer's chat template, as what a user says, up to where the answer begins:
                ``apply_chat_template`` with one message. Names of control tokens are then read as these.

        Raises:
            BadInputError: the text is empty, no valid Unicode, or of more tokens than the context holds; or the chat
                template refuses it.
            UnsupportedError: a chat is asked for, and the tokenizer has no chat template.
        """
        if not text:
            raise BadInputError("the text is empty; give at least one character.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadInputError(f"the text is not Unicode: character {error.start + 1} is half of a pair.") from error
        ids = (
            _chat_ids(tokenizer, text)
            if chat
            else list(tokenizer(text, verbose=False, split_special_tokens=True)["input_ids"])
        )
        check_length(len(ids), context)
        pieces = whole_characters(token_pieces(tokenizer, ids))
        return cls(text, ids, pieces, ids[0] == tokenizer.bos_token_id, tokenizer, chat)

    @property
    def input_ids(self) -> Tensor:
        """The ids as a model and the analyses take them: (1, tokens) int64, on the processor."""
        return torch.tensor([self.ids])

    @property
    def shown(self) -> list[str]:
        """The pieces without the start-of-text token: together, the text."""
        return self.pieces[int(self.bos) :]

    def until(self, shown: int) -> Prompt:
        """The prompt of the first ``shown`` tokens of its text, as they were tokenised here."""
        length = int(self.bos) + shown
        text = "".join(self.pieces[int(self.bos) : length])
        return Prompt(text, self.ids[:length], self.pieces[:length], self.bos, self.tokenizer, self.chat)

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

    def until(self, shown: int) -> PromptReading:
        """The reading of the first ``shown`` tokens of the text, without a forward pass: what comes after them.

        Equal to reading these tokens alone, up to rounding.

        Raises:
            BadInputError: the text has fewer tokens, or ``shown`` is below 1.
        """
        tokens = len(self.prompt.shown)
        if not 1 <= shown <= tokens:
            raise BadInputError(f"there is no token {shown:,} in the text; it has {tokens:,}, counted from 1.")
        return PromptReading(self.prompt.until(shown), self.forward.until(int(self.prompt.bos) + shown))

    def loss(self) -> float:
        """Mean loss of the text's tokens in nats per token; NaN for one token that nothing precedes."""
        ids = self.forward.ids[0]
        sums = []
        for first in range(0, len(ids) - 1, LOSS_POSITIONS):
            positions = slice(first, min(first + LOSS_POSITIONS, len(ids) - 1))
            logits = self.forward.logits_at(positions).float()
            sums.append(torch.nn.functional.cross_entropy(logits, ids[1:][positions].long(), reduction="sum"))
        return sum(torch.stack(sums).tolist()) / (len(ids) - 1) if sums else math.nan

    def most_active(self, n: int, position: int | None = None) -> pd.DataFrame:
        """Return the ``n`` experts with the largest sum of routing scores over the text's tokens, of all groups.

        Args:
            n: how many.
            position: index into ``prompt.shown`` of the one token to look at, in place of all.

        Returns:
            - group: number of the routing group.
            - expert: flat expert id.
            - score: sum over the tokens, the start-of-text token excluded; of equal ones the lower id comes first.
        """
        first = int(self.prompt.bos)
        tokens = slice(first, None) if position is None else slice(first + position, first + position + 1)
        tables = []
        for group, layers in enumerate(self.forward.model.config.routing_groups):
            routing = self.forward.record.layers[layers[0]].routing[tokens]
            _, experts, scores = routing.pairs()
            listed, at = experts.unique(return_inverse=True)
            sums = torch.zeros(len(listed), dtype=torch.float64, device=listed.device)
            sums.index_add_(0, at, scores.double())
            columns = {"expert": listed.numpy(force=True), "score": sums.numpy(force=True)}
            tables.append(pd.DataFrame({"group": group, **columns}))
        return pd.concat(tables).sort_values("score", ascending=False, kind="stable", ignore_index=True).head(n)

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
            seen = self.forward.record.layers[layers[0]]
            scores, experts = seen.routing[int(self.prompt.bos) :].top_experts(n)
            position, rank = (experts >= 0).nonzero(as_tuple=True)
            expert = experts[position, rank]
            factor = factors_of(seen.factors, int(self.prompt.bos) + position, expert)
            columns = {"position": position, "rank": rank + 1, "expert": expert, "score": scores[position, rank]}
            table = pd.DataFrame({name: values.numpy(force=True) for name, values in columns.items()})
            table.insert(1, "group", group)
            tables.append(table.assign(factor=factor.numpy(force=True)))
        return pd.concat(tables).sort_values(["position", "group", "rank"], ignore_index=True)

    def expert_scores(self, group: int, expert: int) -> NDArray[np.float32]:
        """Return the routing score of one expert at every token of the text.

        Args:
            group: number of the routing group.
            expert: flat expert id.

        Returns:
            (tokens,) scores, as long as ``prompt.shown``; 0 where the expert is not active.

        Examples:
            >>> from monet_model import MonetForCausalLM
            >>> from transformers import AutoTokenizer
            >>> from workbench.analysis import Prompt, read_prompt
            >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
            >>> tokenizer = AutoTokenizer.from_pretrained("monet_model/demo")
            >>> reading = read_prompt(model, Prompt.tokenise(tokenizer, "public static void", 256))
            >>> best = reading.top_experts(1).iloc[0]
            >>> bool(reading.expert_scores(0, int(best["expert"]))[0] == best["score"])
            True
        """
        first = self.forward.model.config.routing_groups[group][0]
        routing = self.forward.record.layers[first].routing[int(self.prompt.bos) :]
        i, j = divmod(expert, routing.num_keys)
        p = routing.probs1.where(routing.indices1 == i, 0).sum(-1)  # (tokens, heads); padding has probability 0
        q = routing.probs2.where(routing.indices2 == j, 0).sum(-1)
        scores: NDArray[np.float32] = (p * q).sum(-1).float().numpy(force=True)
        return scores

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
        found: list[float] = self._probabilities()[list(tokens)].tolist()
        return found

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
    return PromptReading(prompt, ForwardPass.run(model, prompt.input_ids))


def read_token(tokenizer: PreTrainedTokenizerFast, text: str) -> int:
    """Return the token that a text names.

    The token whose text is exactly this one: ``" return"`` is the form with a leading blank, ``"return"`` the one
    without, whichever of them the tokenizer would choose at the start of a text. A control token goes by its name, such
    as ``</s>``, and any token by its id, such as ``#17``.

    Args:
        tokenizer: the model's tokenizer.
        text: of the token, or ``#`` and its id.

    Raises:
        BadInputError: no token has this text; the message lists the tokens it is made of, and those that differ by a
            leading blank.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis.attribution.prompt import read_token
        >>> tokenizer = open_run("runs/demo").tokenizer()
        >>> read_token(tokenizer, " return") == read_token(tokenizer, f"#{read_token(tokenizer, ' return')}")
        True
    """
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    if len(ids) == 1 and token_pieces(tokenizer, ids) == [text]:
        return int(ids[0])
    pieces = token_pieces(tokenizer, range(len(tokenizer)))
    named = {piece: token for token, piece in reversed(list(enumerate(pieces)))}
    if text in named:
        return named[text]
    if (by_id := re.fullmatch(r"#(\d+)", text)) and int(by_id[1]) < len(tokenizer):
        return int(by_id[1])
    alike = [form for form in (f" {text}", text.removeprefix(" ")) if form in named]
    instead = " or ".join(f"{form!r} (#{named[form]})" for form in alike)
    raise BadInputError(
        f"the target {text!r} is {len(ids)} tokens ({token_pieces(tokenizer, ids)}), not one; give "
        f"{instead or 'one of them'}, or a token's id as #17."
    )
