"""`MonetConfig`: a LLaMA configuration plus the shape of the product-key experts."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import LlamaConfig

from cuda_ext.sparse import MAX_KEYS

from .experts import DECOMPOSITIONS


@strict
class MonetConfig(LlamaConfig):
    """Configuration of a Monet model: LLaMA's fields plus the ``moe_*`` fields of published checkpoints.

    A layer group has ``moe_experts ** 2`` experts, each addressed by one key from each of two sets (arXiv 2412.04139,
    section 3); expert (i, j) has the flat id ``i * moe_experts + j``. Layers ``l`` with ``l % moe_groups == 0`` own a
    router, whose routing also serves the layers up to the next router.

    Args:
        moe_dim: hidden units per key; vertical experts split them in halves, so it must be even there.
        moe_heads: routing heads, whose scores for an expert add up.
        moe_experts: E, the number of keys per set, 2 to 32,767.
        moe_topk: k, the average number of active keys per token, head and key set that the router's threshold is set
            for; below E.
        moe_groups: layers per group, which share a router.
        moe_decompose: "vertical" or "horizontal", how experts are assembled from the parts of their two keys.
        output_router_probs: whether the model returns dense routing probabilities by default.
        router_aux_loss_coef: weight of the auxiliary losses in training.
        edited_layers: layers with a router whose experts are scaled permanently, by factors among the weights (see
            ``monet_model.export_edited_model``).
        kwargs: all other fields of ``transformers.LlamaConfig``. ``mlp_bias`` and ``intermediate_size`` have no effect;
            published configurations contain them.

    Raises:
        ValueError: a field is out of range; the message names it and its permitted values.

    Examples:
        >>> from monet_model import MonetConfig
        >>> config = MonetConfig.from_pretrained("monet_model/demo")
        >>> config.num_hidden_layers, config.moe_groups, config.routing_groups
        (4, 2, [range(0, 2), range(2, 4)])
        >>> config.experts_per_group == config.moe_experts**2
        True
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

    def to_diff_dict(self) -> dict[str, Any]:
        """What `config.json` holds: transformers' fields, and those that versions before 5 read in their place.

        These know nothing of ``rope_parameters`` and ``dtype``; they would rotate positions by a base of 10,000,
        unscaled, without a word.
        """
        fields = super().to_diff_dict()
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
        strays = sorted(set(self.edited_layers) - {group.start for group in self.routing_groups})
        if strays:
            raise ValueError(f"edited_layers must be layers that own a router; {strays} do not.")
        if self.hidden_act != "relu2":
            raise ValueError(f"Monet experts use hidden_act 'relu2', got {self.hidden_act!r}.")

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
    def routing_groups(self) -> list[range]:
        """Layers of each group, in order; the first layer of a group owns its router.

        Examples:
            >>> from monet_model import MonetConfig
            >>> MonetConfig(num_hidden_layers=5, moe_groups=2).routing_groups
            [range(0, 2), range(2, 4), range(4, 5)]
        """
        starts = range(0, self.num_hidden_layers, self.moe_groups)
        return [range(s, min(s + self.moe_groups, self.num_hidden_layers)) for s in starts]

    @property
    def layer_groups(self) -> list[int]:
        """The number of each layer's routing group, in the order of the layers."""
        return [group for group, layers in enumerate(self.routing_groups) for _ in layers]
