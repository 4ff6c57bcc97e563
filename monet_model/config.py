"""Configuration of a Monet model: a LLaMA configuration plus the shape of its product-key experts."""

from __future__ import annotations

from dataclasses import field

from huggingface_hub.dataclasses import strict
from transformers import LlamaConfig

from .experts import DECOMPOSITIONS

MAX_KEYS = 32_767  # sparse routing stores key indices as signed 16-bit integers


@strict
class MonetConfig(LlamaConfig):
    """LLaMA fields plus the ``moe_*`` fields of published Monet checkpoints (arXiv 2412.04139, section 3).

    A layer group holds ``moe_experts ** 2`` experts, addressed by one key of each of two sets; expert (i, j) has the
    flat id ``i * moe_experts + j``. A router stands in layers ``l`` with ``l % moe_groups == 0`` and serves the layers
    up to the next router. ``mlp_bias`` and ``intermediate_size`` are kept because published configs name them; nothing
    uses them. ``edited_layers`` lists the router layers whose experts are scaled for good, by factors among the
    weights.

    Raises:
        ValueError: a field is out of range; the message names the field and what it may be.
    """

    model_type = "monet"
    base_model_tp_plan = None  # type: ignore[assignment]  # the base has plans
    base_model_pp_plan = None  # type: ignore[assignment]  # of Llama's layers

    hidden_act: str = "relu2"
    intermediate_size: int | None = None  # type: ignore[assignment]  # the base has a size,
    mlp_bias: bool | None = None  # type: ignore[assignment]  # and a bias, of its MLP
    moe_dim: int = 8
    moe_heads: int = 8
    moe_experts: int = 512
    moe_topk: int = 32
    moe_groups: int = 4
    moe_decompose: str = "vertical"  # a name of monet_model.experts.DECOMPOSITIONS
    output_router_probs: bool = False
    router_aux_loss_coef: float = 1e-3
    edited_layers: list[int] = field(default_factory=list)

    def validate_architecture(self) -> None:
        """Checks of the expert shape; called by transformers when a configuration is made."""
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
        """Experts in one routing group."""
        return self.moe_experts**2

    @property
    def routing_groups(self) -> list[range]:
        """The spans of layers that share one router, in order."""
        starts = range(0, self.num_hidden_layers, self.moe_groups)
        return [range(s, min(s + self.moe_groups, self.num_hidden_layers)) for s in starts]

    @property
    def layer_groups(self) -> list[int]:
        """The number of each layer's routing group, in the order of the layers."""
        return [group for group, layers in enumerate(self.routing_groups) for _ in layers]
