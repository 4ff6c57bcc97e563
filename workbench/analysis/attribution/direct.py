"""Direct logit attribution: which experts, attention heads and embedding wrote a logit, exactly.

1. Run the model once over the prompt and record what every layer read, wrote and routed to.
2. Find the direction in the residual stream that the target logit reads at the last position: the target's row of the
   unembedding, times the final norm's weight and its scale there, held at its value.
3. Project what each part of the model wrote on that direction. An active expert (i, j) contributes
   ``S[i, j] G[i, j] (direction . E_ij(x))``, where G is its routing score and S its factor under an edit; each
   attention head, the MLP of each dense layer and the embedding contribute likewise.
4. All contributions sum to the logit, up to rounding: ``Attribution.completeness`` is what is left.

Experts: Park et al. 2024, "Monet", section 3 (https://arxiv.org/abs/2412.04139). Direct logit attribution: Elhage et
al. 2021, "A Mathematical Framework for Transformer Circuits" (https://transformer-circuits.pub/2021/framework).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from monet_model.projection import project
from monet_model.record import Record, record_pass

from ...errors import BadInputError
from .contributions import expert_contributions
from .target import LinearTarget, Target, check_ids

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

    from monet_model import MonetForCausalLM

MLP = "mlp"  # what the name of a dense layer's component ends with
Places = tuple[Tensor, Tensor]  # windows of a batch (n,) and positions in them (n,)


@dataclass(frozen=True)
class Attribution:
    """The parts of a logit at the last position of a prompt.

    Attributes:
        target: the token id, or pair of token ids; None for a function of the logits.
        logit: what the model computed: the logit, the difference of a pair, or the linearised function (see
            ``attribute``).
        experts: one row per active expert of a layer, sorted by layer, then expert:

            - layer: the layer.
            - position: the last position of the prompt.
            - expert: flat expert id ``i * E + j``.
            - contribution: what it adds to ``logit``.
        rest: one row per component other than experts:

            - component: ``embed``; ``L{layer}H{head}`` for each attention head; ``L{layer}bias`` where the attention's
              output projection has a bias; ``L{layer}mlp`` for the MLP of each dense layer.
            - contribution: what it adds to ``logit``.

    Examples:
        >>> from monet_model import MonetForCausalLM
        >>> from transformers import AutoTokenizer
        >>> from workbench.analysis import attribute
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
        >>> tokenizer = AutoTokenizer.from_pretrained("monet_model/demo")
        >>> a = attribute(model, tokenizer("public static void", return_tensors="pt").input_ids)
        >>> a.top(5).columns.tolist()
        ['layer', 'position', 'expert', 'contribution']
        >>> a.summary()["component"].tolist()
        ['all experts', 'attention', 'embedding']
        >>> bool(abs(a.total - a.logit) < 1e-4)
        True
    """

    target: int | tuple[int, int] | None
    logit: float
    experts: pd.DataFrame
    rest: pd.DataFrame

    @property
    def total(self) -> float:
        """Sum of all contributions."""
        return math.fsum(self.experts["contribution"]) + math.fsum(self.rest["contribution"])

    @property
    def completeness(self) -> float:
        """``|total - logit|``, what the attribution misses: the model's own rounding and nothing else."""
        return abs(self.total - self.logit)

    def top(self, n: int) -> pd.DataFrame:
        """The ``n`` rows of ``experts`` with the largest absolute contribution, largest first."""
        order = self.experts["contribution"].abs().sort_values(ascending=False, kind="stable").index
        return self.experts.loc[order[:n]].reset_index(drop=True)

    def summary(self) -> pd.DataFrame:
        """The contributions in three rows: all experts, attention and embedding; four where layers are dense.

        Returns:
            - component: ``all experts``, ``dense layers`` (their MLPs), ``attention`` (heads and biases of all layers)
              or ``embedding``.
            - contribution: their sum.
        """
        rest = self.rest.set_index("component")["contribution"]
        mlp = rest[rest.index.str.endswith(MLP)]
        sums = {"all experts": self.experts["contribution"].sum()}
        if len(mlp):
            sums["dense layers"] = mlp.sum()
        sums |= {"attention": rest.drop(["embed", *mlp.index]).sum(), "embedding": rest["embed"]}
        return pd.DataFrame({"component": list(sums), "contribution": list(sums.values())})

    def to_json(self, n: int = 50) -> dict[str, Any]:
        """Target, logit, total and completeness, the top ``n`` experts and all other components, ready for JSON."""
        return {
            "target": self.target,
            "logit": self.logit,
            "total": self.total,
            "completeness": self.completeness,
            "active_experts": len(self.experts),
            "experts": self.top(n).to_dict("records"),
            "rest": self.rest.to_dict("records"),
        }


@dataclass(frozen=True)
class ForwardPass:
    """One recorded forward pass over one prompt. The logit of any target can be attributed from it, without another.

    Attributes:
        model: the model, whose edits in force during the pass are part of ``record``.
        ids: (1, tokens) the prompt.
        record: what every layer read and wrote.
        logits: (vocabulary,) at the last position.
    """

    model: MonetForCausalLM
    ids: Tensor
    record: Record
    logits: Tensor

    @classmethod
    @torch.no_grad()
    def run(cls, model: MonetForCausalLM, input_ids: Tensor) -> ForwardPass:
        """Run the model over a prompt. Arguments and errors as of ``attribute``."""
        ids = check_ids(model, input_ids)
        record, out = record_pass(model, lambda: model(ids, logits_to_keep=1, use_cache=False))
        return cls(model, ids, record, out.logits[0, -1])

    @torch.no_grad()
    def until(self, length: int) -> ForwardPass:
        """The pass over the first ``length`` tokens of the prompt, without another: no token reads a later one.

        Equal to running the model over these tokens alone, up to rounding. The record is shared, not copied.

        Raises:
            BadInputError: the prompt has fewer tokens, or ``length`` is below 1.
        """
        if not 1 <= length <= self.ids.shape[1]:
            raise BadInputError(f"the prompt has {self.ids.shape[1]:,} tokens; there are no first {length:,} of them.")
        if length == self.ids.shape[1]:
            return self
        record = self.record.until(length)
        return ForwardPass(self.model, self.ids[:, :length], record, self.logits_at(slice(length - 1, length))[0])

    @torch.no_grad()
    def logits_at(self, positions: slice) -> Tensor:
        """The logits at some positions, (positions, vocabulary), from the record of the last residual stream."""
        return project(self.model.lm_head, self.model.model.norm(self.record.final[0, positions]))

    @torch.no_grad()
    def attribute(self, target: Target | None = None) -> Attribution:
        """Direct logit attribution of a target, as ``attribute`` defines it."""
        linear = LinearTarget.at(int(self.logits.argmax()) if target is None else target, self.logits)
        position = self.ids.shape[1] - 1
        device = self.ids.device
        last = torch.tensor([0], device=device), torch.tensor([position], device=device)
        direction = linear.direction(self.model, self.record.final[last])
        columns = ["layer", "position", "expert", "contribution"]
        tables = [
            pd.DataFrame(dict(zip(columns, (layer, position, expert, contribution), strict=True)))
            for layer, _, expert, contribution in expert_parts(self.model, self.record, last, direction)
        ]
        names, values = rest_parts(self.model, self.record, last, direction)
        return Attribution(
            target=linear.target,
            logit=float(linear.value(self.logits)),
            experts=pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns),
            rest=pd.DataFrame({"component": names, "contribution": values[0].numpy(force=True)}),
        )


def attribute(model: MonetForCausalLM, input_ids: Tensor, target: Target | None = None) -> Attribution:
    """Return the exact direct logit attribution of a target: what every expert, attention head and the embedding add.

    The logits at the last position are linear in the residual stream there, once the final norm's scale is held at its
    value. So the contributions of all active experts, all attention heads and the embedding sum to the logit, with the
    MLPs of dense layers where there are any, which ``attribute_neurons`` takes apart. What an
    expert does to later layers, or from earlier positions through attention, counts as part of those;
    ``attribute_gradient`` follows it through the whole model. Edits of experts in force count.

    Args:
        model: a Monet model in evaluation mode.
        input_ids: (1, tokens) integer token ids, at most the model's context.
        target: a token id; a pair (a, b) for the difference of their logits, a - b; or a differentiable function from
            the last position's logits (vocabulary,) to a scalar. A function f is linearised at the model's logits z:
            what is attributed, and ``Attribution.logit``, is ``grad f(z) . z``, which equals f(z) where f is linear.
            Default: the token of highest logit.

    Returns:
        An ``Attribution``.

    Raises:
        BadInputError: ids of another shape or type, no ids or too many, ids or a target outside the vocabulary, a
            function that is not differentiable or not scalar, or a model in training mode.

    Source: Park et al. 2024, arXiv 2412.04139, section 3 (experts); Elhage et al. 2021 (direct logit attribution).

    Examples:
        >>> import torch
        >>> from monet_model import MonetForCausalLM
        >>> from transformers import AutoTokenizer
        >>> from workbench.analysis import attribute
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
        >>> tokenizer = AutoTokenizer.from_pretrained("monet_model/demo")
        >>> ids = tokenizer("public static void", return_tensors="pt").input_ids
        >>> a = attribute(model, ids)
        >>> tokenizer.decode([a.target])
        ' get'
        >>> bool(a.completeness < 1e-4)
        True
        >>> get, main = tokenizer.encode(" get main", add_special_tokens=False)[:2]
        >>> attribute(model, ids, (get, main)).target == (get, main)  # why " get" rather than the other token
        True
        >>> entropy = attribute(model, ids, lambda logits: torch.special.entr(logits.softmax(-1)).sum())
        >>> entropy.target is None
        True
    """
    return ForwardPass.run(model, input_ids).attribute(target)


def expert_parts(
    model: MonetForCausalLM, record: Record, where: Places, direction: Tensor
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
    """Yield, for each layer with experts, what the active ones add along a direction at n places of a forward pass.

    Args:
        model: the model.
        record: what it read and wrote.
        where: the places: windows of the batch (n,), and positions (n,).
        direction: (n, hidden) float64, one at each place.

    Yields:
        The layer; then number of the place, flat expert id and contribution, each (rows,), sorted by place, then
        expert.
    """
    for number, (layer, seen) in enumerate(zip(model.model.layers, record.layers, strict=True)):
        if seen.dense:
            continue
        routing, factors = seen.routing_at(where), seen.factors_at(where)
        parts = expert_contributions(layer.moe, seen.x[where], routing, direction, factors)
        place, expert, contribution = (values.numpy(force=True) for values in parts)
        yield number, place, expert, contribution


def rest_parts(
    model: MonetForCausalLM | LlamaForCausalLM, record: Record, where: Places, direction: Tensor
) -> tuple[list[str], Tensor]:
    """Return what everything but the experts adds along a direction.

    Args:
        model, record, where, direction: as of ``expert_parts``.

    Returns:
        Names of the components, as in ``Attribution.rest``, and contributions (n, components).
    """
    names, values = ["embed"], [(record.embedded[where].double() * direction).sum(-1, keepdim=True)]
    for number, (layer, seen) in enumerate(zip(model.model.layers, record.layers, strict=True)):
        projection = layer.self_attn.o_proj
        through = direction @ projection.weight.double()  # (n, heads * head width)
        heads = (seen.heads[where].double() * through).unflatten(-1, (-1, layer.self_attn.head_dim)).sum(-1)
        names += [f"L{number}H{head}" for head in range(heads.shape[1])]
        values.append(heads)
        if projection.bias is not None:
            names.append(f"L{number}bias")
            values.append((direction @ projection.bias.double())[:, None])
        if seen.dense:
            names.append(f"L{number}{MLP}")
            values.append((seen.output[where].double() * direction).sum(-1, keepdim=True))
    return names, torch.cat(values, -1)
