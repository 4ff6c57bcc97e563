"""Monet in TransformerLens: the architecture adapter, its bridge components, and `load_lens`.

`monet_model.discovery` registers the adapter with TransformerLens. Like TransformerLens' own adapters, this one uses
names of it that begin with an underscore and have no public counterpart; setup.cfg keeps to its major version 4.

Hook points besides those of every TransformerLens decoder, for key set s (1 or 2):

======================================== ============================= ============================================
name                                     shape                         value
======================================== ============================= ============================================
``blocks.{l}.mlp.hook_in``               (batch, pos, d_model)         input of the router and the experts
``blocks.{l}.mlp.hook_logits{s}``        (batch, pos, heads, keys)     raw router logits
``blocks.{l}.mlp.hook_normalized{s}``    (batch, pos, heads, keys)     batch-normalised logits
``blocks.{l}.mlp.hook_threshold{s}``     (batch, pos, heads, 1)        normalised logit from which keys are active
``blocks.{l}.mlp.hook_g{s}``             (batch, pos, heads, keys)     routing probabilities
``blocks.{l}.mlp.hook_post``             (batch, pos, keys, units)     hidden activations, horizontal experts
``blocks.{l}.mlp.hook_post{s}``          (batch, pos, keys, units)     hidden activations, vertical experts
``blocks.{l}.mlp.hook_out``              (batch, pos, d_model)         expert-layer output
======================================== ============================= ============================================

A dense layer of a mixed model has the hook points of TransformerLens' gated MLPs instead: ``mlp.hook_in``,
``mlp.hook_pre`` (what the gate reads), ``mlp.hook_pre_linear``, ``mlp.hook_post`` (the neurons) and ``mlp.hook_out``.

Routing happens once per layer group, in the layer ``o`` that owns the router: its routing hooks are those of
``blocks.{o}.router``. The other layers of the group refer to the same hook points, so a hook set through any of them
acts on the whole group. A hook that returns a value changes the forward pass from that point on. In compatibility mode
a cache that stops at such a layer's group (``stop_at_layer``) names the routing hooks of all its layers, also of those
that did not run: the values are the group's.

TransformerLens takes letters followed by digits for a name and a layer, so its short names have an underscore before
the set: ``cache["g_1", layer]``, ``cache["post_2", layer]``, ``get_act_name("logits_1", layer)``. Where not every layer
is dense, ``get_full_resid_decomposition`` wants ``expand_neurons=False``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.architecture_adapter import ArchitectureAdapter
from transformer_lens.model_bridge.generalized_components import (
    BlockBridge,
    EmbeddingBridge,
    GatedMLPBridge,
    LinearBridge,
    RMSNormalizationBridge,
    RotaryEmbeddingBridge,
    UnembeddingBridge,
)
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from transformer_lens.utilities.devices import get_device

from cuda_ext.routing import Routing

from .discovery import ARCHITECTURE
from .experts import ExpertLayer
from .modeling import MonetDecoderLayer, MonetForCausalLM
from .router import MonetRouter, head_thresholds, select_keys
from .token_factors import Factors

MONET_FIELDS = ("moe_dim", "moe_heads", "moe_experts", "moe_topk", "moe_groups", "moe_decompose", "dense_layers")
ROUTING_HOOKS = tuple(f"hook_{value}{side}" for value in ("logits", "normalized", "threshold", "g") for side in (1, 2))
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")


class RouterBridge(GeneralizedComponent):
    """The router, with a hook on each step for each key set. Absent in layers without a router."""

    def __init__(self, name: str) -> None:
        super().__init__(name, optional=True)
        for hook in ROUTING_HOOKS:
            setattr(self, hook, HookPoint())
        # The output is a Routing, not a tensor: hook_g1 and hook_g2 stand in for a hook that would never fire.
        del self.hook_out
        self._hook_registry.pop("hook_out", None)

    def forward(self, x: Tensor) -> Routing:
        """Return the routing of the batch x pos tokens of ``x`` (batch, pos, d_model)."""
        router = cast(MonetRouter, self.original_component)
        logits, _ = self._hooked("logits", router.logits(self.hook_in(x)))
        # The model's own routing is used unless a hook changes a value. Gradients flow through the dense values.
        routing = None if torch.is_grad_enabled() or router.training else router.route(*logits)
        normalised, same_normalised = self._hooked("normalized", router.normalise(*logits))
        highest = head_thresholds(normalised[0], router.sigma), head_thresholds(normalised[1], router.sigma)
        thresholds, same_thresholds = self._hooked("threshold", highest)
        if routing is not None and same_normalised and same_thresholds:
            g1, g2 = (g.view(normalised[0].shape) for g in routing.dense())
        else:
            routing = None
            # If a hook sets a threshold that no key reaches, the highest key stays active.
            g1, g2 = (
                select_keys(z, n, t.minimum(n.amax(-1, keepdim=True)))
                for z, n, t in zip(logits, normalised, thresholds, strict=True)
            )
        g, same_g = self._hooked("g", (g1, g2))
        return routing if routing is not None and same_g else Routing.from_dense(*g)

    def _hooked(self, name: str, values: tuple[Tensor, Tensor]) -> tuple[tuple[Tensor, Tensor], bool]:
        """Pass one value per key set through its hook; also return whether both came back unchanged."""
        # PyTorch's count of in-place changes, the only way to notice them without a copy. Inference tensors have none.
        before = [None if value.is_inference() else value._version for value in values]
        hooked = getattr(self, f"hook_{name}1")(values[0]), getattr(self, f"hook_{name}2")(values[1])
        same = all(
            new is old and version is not None and new._version == version
            for new, old, version in zip(hooked, values, before, strict=True)
        )
        return hooked, same


class ExpertsBridge(GeneralizedComponent):
    """The expert layer, with hooks on its hidden activations. Its ``hook_in`` fires before the router."""

    def set_original_component(self, original_component: nn.Module) -> None:
        """Wrap an expert layer and create the hooks that its decomposition has."""
        super().set_original_component(original_component)
        inputs = cast(ExpertLayer, original_component).inputs()
        for side in [""] if len(inputs) == 1 else [1, 2]:
            setattr(self, f"hook_post{side}", HookPoint())

    def forward(self, x: Tensor, routing: Routing, factors: Factors | None = None) -> Tensor:
        """Return the expert-layer output (batch, pos, d_model); arguments as in ``ExpertLayer.forward``."""
        experts = cast(ExpertLayer, self.original_component)
        hidden: Any = experts.hidden(x)
        if isinstance(hidden, Tensor):
            hidden = self.hook_post(hidden)
        else:
            hidden = self.hook_post1(hidden[0]), self.hook_post2(hidden[1])
        return self.hook_out(experts.combine(hidden, routing, factors))


def _enter_mlp(mlp: ExpertsBridge, _norm: nn.Module, _args: tuple[Any, ...], output: Tensor) -> Tensor:
    """Forward hook on the norm before the experts, so that router and experts read what ``mlp.hook_in`` returns."""
    return mlp.hook_in(output)


class DenseMLPBridge(GatedMLPBridge):
    """The MLP of a dense layer. Its gate's activation is the model's own, of which TransformerLens knows a few."""

    def __init__(self, config: Any) -> None:
        names = {"gate": "gate_proj", "in": "up_proj", "out": "down_proj"}
        super().__init__("mlp", config, {part: LinearBridge(name) for part, name in names.items()})

    def set_processed_weights(self, weights: Mapping[str, Tensor | None], verbose: bool = False) -> None:
        """Give the projections processed weights, and go on computing with them as the model does."""
        super().set_processed_weights(weights, verbose)
        self._use_processed_weights = False


class MonetBlockBridge(BlockBridge):
    """A Monet layer. Its MLP, as far as hooks are concerned, is the router (if it owns one) and the experts.

    Args:
        dense: the bridge to the MLP of a dense layer, which takes the place of the experts' there.
        kwargs: those of ``BlockBridge``.
    """

    def __init__(self, *, dense: DenseMLPBridge, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._dense = {"mlp": dense}  # in a dictionary, it is no submodule

    def set_original_component(self, original_component: nn.Module) -> None:
        """Wrap a layer, whose MLP decides what bridges to it."""
        super().set_original_component(original_component)
        if cast(MonetDecoderLayer, original_component).moe is None:
            self.submodules |= self._dense

    def of_dense_layers(self) -> MonetBlockBridge:
        """This template of a block, as it is for dense layers."""
        template = copy.copy(self)
        template.submodules = self.submodules | self._dense
        return template

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the layer with its hooks.

        Raises:
            ValueError: ``start_at_layer`` names this layer, but its routing comes from an earlier one.
        """
        layer = cast(MonetDecoderLayer, self.original_component)
        if getattr(self, "_start_at_layer_idx", None) == layer.layer_idx and layer.routed_before:
            raise ValueError(
                f"start_at_layer={layer.layer_idx}: from here on, routing is taken from an earlier layer, which this "
                "run skips. Start at a layer that owns a router."
            )
        return super().forward(*args, **kwargs)

    def validate_after_setup(self, _skipped: list[str]) -> None:
        """Make ``mlp.hook_in`` fire where the MLP branch begins. Called once the submodules are wrapped."""
        if isinstance(self.mlp, ExpertsBridge):
            self.ln2.register_forward_hook(partial(_enter_mlp, self.mlp))


class MonetArchitectureAdapter(ArchitectureAdapter):
    """TransformerLens adapter for `MonetForCausalLM`. Adds Monet's config fields to ``cfg``."""

    component_test_skip_suffixes = ("router",)  # its output is no tensor for TransformerLens' own checks to compare

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        self._set_rms_rotary_defaults(gated=False)
        self.weight_processing_conversions = {**self._qkvo_weight_conversions()}
        self.component_mapping = {
            "embed": EmbeddingBridge(name="model.embed_tokens"),
            "rotary_emb": RotaryEmbeddingBridge(name="model.rotary_emb"),
            "blocks": MonetBlockBridge(
                name="model.layers",
                submodules={
                    "ln1": RMSNormalizationBridge(name="input_layernorm", config=self.cfg),
                    "ln2": RMSNormalizationBridge(name="post_attention_layernorm", config=self.cfg),
                    "attn": self._build_attention_bridge(),
                    "router": RouterBridge(name="router"),
                    "mlp": ExpertsBridge(name="moe"),
                },
                dense=DenseMLPBridge(self.cfg),
            ),
            "ln_final": RMSNormalizationBridge(name="model.norm", config=self.cfg),
            "unembed": UnembeddingBridge(name="lm_head", config=self.cfg),
        }

    def get_component_from_list_module(self, list_module: Any, bridge_component: Any, parts: list[str]) -> Any:
        """Find a part of a layer in a model; what its MLP is called there depends on the layer."""
        if len(parts) > 2 and int(parts[1]) in getattr(self.cfg, "dense_layers", []):  # noqa: PLR2004 (blocks, layer, part)
            bridge_component = bridge_component.of_dense_layers()
        return super().get_component_from_list_module(list_module, bridge_component, parts)

    def prepare_model(self, hf_model: Any) -> None:
        """Copy the config fields that TransformerLens does not know."""
        super().prepare_model(hf_model)
        for field in MONET_FIELDS:
            setattr(self.cfg, field, getattr(hf_model.config, field))
        self.cfg.d_mlp = hf_model.config.moe_experts * hf_model.config.moe_dim

    def setup_hook_compatibility(self, bridge: TransformerBridge) -> None:
        """Make the routing hooks of a group available in each of its layers, and give hooks of a set short names."""
        router = None
        for block in bridge.blocks:
            router = block._modules.get("router", router)
            if not isinstance(block.mlp, ExpertsBridge):
                continue
            for hook in ROUTING_HOOKS:
                object.__setattr__(block.mlp, hook, getattr(router, hook))  # not as a submodule: it has one owner
            of_sets = *ROUTING_HOOKS, *(name for name in ("hook_post1", "hook_post2") if hasattr(block.mlp, name))
            for hook in of_sets:
                object.__setattr__(block, f"{hook[:-1]}_{hook[-1]}", getattr(block.mlp, hook))
        bridge._scan_existing_hooks(bridge)

    def preprocess_weights(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Hide ``ln2`` from TransformerLens' own folding, which does not support routers or product-key experts."""
        return {name: tensor for name, tensor in state_dict.items() if not name.endswith("ln2.weight")}

    def postprocess_weights(self, bridge: TransformerBridge) -> None:
        """Fold ``ln2`` into everything that reads it: router projections and input weights of experts or MLP."""
        if not self._fold_ln_requested:
            return
        with torch.no_grad():
            for block in bridge.blocks:
                scale = block.ln2.original_component.weight
                for reader in _readers(block):
                    reader.weight.mul_(scale)
                scale.fill_(1.0)


def _readers(block: Any) -> Sequence[nn.Linear]:
    """The projections of a layer that read what ``ln2`` writes."""
    if isinstance(block.mlp, DenseMLPBridge):
        return [projection.original_component for projection in (block.mlp.gate, getattr(block.mlp, "in"))]
    router = block._modules.get("router")
    routers = [] if router is None else [router.original_component.w1, router.original_component.w2]
    return [*routers, *block.mlp.original_component.inputs()]


def load_lens(path: str | Path, **kwargs: Any) -> TransformerBridge:
    """Load a Monet checkpoint into TransformerLens.

    All of TransformerLens works on it: caches, hooks, activation patching, the logit lens. The module's docstring lists
    the hook points that Monet adds; ``edit_experts`` of ``original_model`` works under hooks too.

    Args:
        path: checkpoint folder or hub name. A bridge to a folder without a tokenizer takes token ids only.
        kwargs: arguments of ``TransformerBridge.boot_transformers``; only ``device`` and ``dtype`` for a folder without
            a tokenizer.

    Returns:
        The bridge, in float32 unless ``dtype`` says otherwise.

    Raises:
        TypeError: an argument other than ``device`` and ``dtype`` for a folder without a tokenizer.

    Examples:
        >>> from monet_model import load_lens
        >>> lens = load_lens("monet_model/demo", device="cpu")
        >>> tokens = lens.to_tokens("The cat sat on the mat.")
        >>> _, cache = lens.run_with_cache(tokens)
        >>> g1 = cache["blocks.0.mlp.hook_g1"]  # routing probabilities of key set 1: (batch, pos, heads, keys)
        >>> g1.shape == (*tokens.shape, lens.cfg.moe_heads, lens.cfg.moe_experts)
        True
        >>> bool(((g1 > 0).sum(-1) >= 1).all())  # every head has at least one active key at every token
        True
    """
    folder = Path(path)
    if "tokenizer" in kwargs or not folder.is_dir() or any((folder / name).exists() for name in TOKENIZER_FILES):
        bridge = TransformerBridge.boot_transformers(str(path), **kwargs)
        if bridge.tokenizer is not None:  # a typed <s> is text: it would double the start-of-text token in silence
            bridge.tokenizer.split_special_tokens = True
        return bridge
    return _boot_without_tokenizer(folder, **kwargs)


def _boot_without_tokenizer(
    folder: Path, device: str | torch.device | None = None, dtype: torch.dtype = torch.float32
) -> TransformerBridge:
    model = MonetForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    nn.Module.to(model, device or get_device())
    return build_bridge_from_module(model, ARCHITECTURE, hf_config=model.config, model_name=str(folder))
