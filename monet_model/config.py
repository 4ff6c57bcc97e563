"""`MonetConfig`: a LLaMA configuration plus the shape of the product-key experts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import LlamaConfig
from transformers.activations import ACT2FN

from cuda_ext.sparse import MAX_KEYS

from .experts import DECOMPOSITIONS


@strict
class MonetConfig(LlamaConfig):
    """Configuration of a Monet model: LLaMA's fields plus the ``moe_*`` fields of published checkpoints.

    A layer group has ``moe_experts ** 2`` experts, each addressed by one key from each of two sets (arXiv 2412.04139,
    section 3); expert (i, j) has the flat id ``i * moe_experts + j``. The first layer of a group owns a router, whose
    routing also serves the group's other layers. In a mixed model some layers are dense: LLaMA's decoder layers, with
    its gated MLP in place of experts. The groups then divide the layers that are left, in their order.

    Args:
        moe_dim: hidden units per key; vertical experts split them in halves, so it must be even there.
        moe_heads: routing heads, whose scores for an expert add up.
        moe_experts: E, the number of keys per set, 2 to 32,767.
        moe_topk: k, the average number of active keys per token, head and key set that the router's threshold is set
            for; below E.
        moe_groups: layers per group, which share a router; dense layers do not count.
        moe_decompose: "vertical" or "horizontal", how experts are assembled from the parts of their two keys.
        output_router_probs: whether the model returns dense routing probabilities by default.
        router_aux_loss_coef: weight of the auxiliary losses in training.
        edited_layers: layers with a router whose experts are scaled permanently, by factors among the weights (see
            ``monet_model.export_edited_model``).
        dense_layers: layers with LLaMA's MLP instead of experts, ascending.
        hidden_act: activation of the gate in dense layers; experts always use "relu2", which it must be without any.
        intermediate_size: neurons of a dense layer. Without dense layers it has no effect, and neither has
            ``mlp_bias``; published configurations contain them.
        kwargs: all other fields of ``transformers.LlamaConfig``, such as ``head_dim``, ``num_key_value_heads``,
            ``tie_word_embeddings`` and ``rope_parameters`` of any ``rope_type``.

    Raises:
        ValueError: a field is out of range; the message names it and its permitted values.

    Examples:
        >>> from monet_model import MonetConfig
        >>> config = MonetConfig.from_pretrained("monet_model/demo")
        >>> config.num_hidden_layers, config.moe_groups, config.routing_groups
        (4, 2, [range(0, 2), range(2, 4)])
        >>> config.experts_per_group == config.moe_experts**2
        True
        >>> mixed = MonetConfig(
        ...     num_hidden_layers=6, dense_layers=[0, 1, 4], intermediate_size=64, hidden_act="silu", moe_groups=2
        ... )
        >>> mixed.routing_groups, mixed.layer_groups
        ([range(2, 4), range(5, 6)], [-1, -1, 0, 0, -1, 1])
    """

    model_type = "monet"
    base_model_tp_plan = None  # type: ignore[assignment]  # the base class has plans
    base_model_pp_plan = None  # type: ignore[assignment]  # for LLaMA's layers

    hidden_act: str = "relu2"
    intermediate_size: int | None = None  # type: ignore[assignment]  # the base class has a size
    mlp_bias: bool | None = None  # type: ignore[assignment]  # and a bias for its MLP
    moe_dim: int = 8
    moe_heads: int = 8
    moe_experts: int = 512
    moe_topk: int = 32
    moe_groups: int = 4
    moe_decompose: str = "vertical"  # a name of monet_model.experts.DECOMPOSITIONS
    output_router_probs: bool = False
    router_aux_loss_coef: float = 1e-3
    edited_layers: list[int] = field(default_factory=list)
    dense_layers: list[int] = field(default_factory=list)

    def to_diff_dict(self) -> dict[str, Any]:
        """What `config.json` holds: transformers' fields, and those that versions before 5 read in their place.

        These know nothing of ``rope_parameters`` and ``dtype``; they would rotate positions by a base of 10,000,
        unscaled, without a word. A model without dense layers names none, so that older versions of this package read
        it.
        """
        fields = super().to_diff_dict()
        if not self.dense_layers:
            fields.pop("dense_layers", None)
        rope = dict(self.rope_parameters or {})
        older = {"rope_theta": rope.pop("rope_theta", None), "torch_dtype": fields.get("dtype")}
        if rope.get("rope_type", "default") != "default":
            older["rope_scaling"] = rope
        return fields | {name: value for name, value in older.items() if value is not None}

    def validate_architecture(self) -> None:
        """Check the expert shape; transformers calls this when a configuration is created."""
        super().validate_architecture()
        for name in ("moe_dim", "moe_heads", "moe_experts", "moe_topk", "moe_groups"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.moe_decompose not in DECOMPOSITIONS:
            known = " or ".join(map(repr, DECOMPOSITIONS))
            raise ValueError(f"moe_decompose must be {known}, got {self.moe_decompose!r}.")
        if self.moe_topk >= self.moe_experts:
            raise ValueError(
                f"moe_topk ({self.moe_topk}) must be below moe_experts ({self.moe_experts}), the keys in one set."
            )
        if self.moe_experts > MAX_KEYS:
            raise ValueError(f"moe_experts must be at most {MAX_KEYS}, got {self.moe_experts}.")
        DECOMPOSITIONS[self.moe_decompose].check(self)
        self._check_dense()
        strays = sorted(set(self.edited_layers) - {group[0] for group in self.routing_groups})
        if strays:
            raise ValueError(f"edited_layers must be layers that own a router; {strays} do not.")

    def _check_dense(self) -> None:
        """Raise ValueError unless the dense layers are the model's, and there is all that builds them."""
        if not self.dense_layers:
            if self.hidden_act != "relu2":
                raise ValueError(f"Monet experts use hidden_act 'relu2', got {self.hidden_act!r}.")
            return
        last = self.num_hidden_layers - 1
        if self.dense_layers != sorted(set(self.dense_layers) & set(range(last + 1))):
            raise ValueError(
                f"dense_layers must be layers of the model, 0 .. {last}, ascending and each once, "
                f"got {self.dense_layers}."
            )
        if self.intermediate_size is None or self.intermediate_size < 1:
            raise ValueError(
                f"dense layers need intermediate_size, their number of neurons, got {self.intermediate_size}."
            )
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"transformers has no hidden_act {self.hidden_act!r} for the dense layers.")

    @property
    def experts_per_group(self) -> int:
        """Number of experts per layer group, ``moe_experts ** 2``.

        Examples:
            >>> from monet_model import MonetConfig
            >>> MonetConfig(moe_experts=512).experts_per_group
            262144
        """
        return self.moe_experts**2

    @property
    def routing_groups(self) -> list[Sequence[int]]:
        """Layers of each group, in order; the first layer of a group owns its router.

        A range where they follow each other, a tuple where dense layers lie between them. A model of dense layers alone
        has no groups.

        Examples:
            >>> from monet_model import MonetConfig
            >>> MonetConfig(num_hidden_layers=5, moe_groups=2).routing_groups
            [range(0, 2), range(2, 4), range(4, 5)]
        """
        dense = set(self.dense_layers)
        routed = tuple(layer for layer in range(self.num_hidden_layers) if layer not in dense)
        groups = [routed[start : start + self.moe_groups] for start in range(0, len(routed), self.moe_groups)]
        spans = [range(layers[0], layers[-1] + 1) for layers in groups]
        return [span if len(span) == len(layers) else layers for span, layers in zip(spans, groups, strict=True)]

    @property
    def layer_groups(self) -> list[int]:
        """The number of each layer's routing group, in the order of the layers; -1 for a dense layer."""
        of_layer = {layer: group for group, layers in enumerate(self.routing_groups) for layer in layers}
        return [of_layer.get(layer, -1) for layer in range(self.num_hidden_layers)]
