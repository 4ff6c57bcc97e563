"""Monet on transformers: a LLaMA decoder whose MLPs, or some of them, are product-key experts (arXiv 2412.04139)."""

# Annotations are evaluated here: transformers reads those of `forward` to learn which arguments a model takes.

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Unpack, cast

import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRMSNorm, LlamaRotaryEmbedding
from transformers.utils.generic import TransformersKwargs, can_return_tuple, merge_with_config_defaults
from transformers.utils.logging import set_tqdm_hook
from transformers.utils.output_capturing import capture_outputs

from cuda_ext.routing import Routing

from .config import MonetConfig as MonetConfig  # taken from here, it comes with the Auto classes registered
from .dense import DenseMLP
from .discovery import MODEL_TYPE
from .edits import (
    Edits,
    ModelEdit,
    PositionedEdit,
    active_edits,
    apply_edits,
    apply_positioned,
    check_edits,
)
from .experts import make_experts
from .held import is_held
from .losses import ambiguity_loss, uniformity_loss
from .positions import PositionFactors, Positions, token_positions
from .projection import project
from .router import Float32Buffers, MonetRouter
from .token_factors import Factors, TokenFactors

DenseRouting = tuple[Tensor, Tensor]


@dataclass
class MonetModelOutput(BaseModelOutputWithPast):
    """Output of ``MonetModel``; ``router_probs`` as in ``MonetOutput``, ``aux_loss`` where the caller asks for it."""

    router_probs: tuple[DenseRouting | None, ...] | None = None
    aux_loss: Tensor | None = None


@dataclass
class MonetOutput(CausalLMOutputWithPast):
    """Output of ``MonetForCausalLM``.

    Attributes:
        router_probs: with ``output_router_probs=True``, for each layer ``(g1, g2)``, each (batch, tokens, heads, keys)
            float32, or None for a layer without a router.
        lm_loss: with labels, cross entropy alone, in nats per token.
        aux_loss: with labels in training mode, the sum of both auxiliary losses before their coefficient.
    """

    router_probs: tuple[DenseRouting | None, ...] | None = None
    lm_loss: Tensor | None = None
    aux_loss: Tensor | None = None


class BuiltInEdit(Float32Buffers):
    """Expert factors (keys, keys) that are part of the model."""

    factors: Tensor

    def __init__(self, keys: int) -> None:
        super().__init__()
        self.register_buffer("factors", torch.ones(keys, keys, dtype=torch.float32))

    def times(self, factors: Factors | None) -> Factors:
        """These factors, times those of a passing edit if there is one."""
        if isinstance(factors, TokenFactors):
            return factors.times(self.factors)
        return self.factors if factors is None else self.factors * factors.to(self.factors.device)


class MonetDecoderLayer(GradientCheckpointingLayer):
    """Attention, then the experts, or in a dense layer LLaMA's MLP.

    Attributes:
        router: the group's, in the first layer of each routing group; elsewhere None.
        moe: the experts; None in a dense layer.
        mlp: LLaMA's MLP; None in a layer with experts.
        routed_before: whether what runs from here on takes routing of an earlier layer.
    """

    def __init__(self, config: MonetConfig, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx = layer_idx
        self.input_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.self_attn = LlamaAttention(config=config, layer_idx=layer_idx)
        self.post_attention_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        dense, groups = layer_idx in config.dense_layers, config.routing_groups
        self.router = MonetRouter(config) if layer_idx in [layers[0] for layers in groups] else None
        self.moe = None if dense else make_experts(config)
        self.mlp = DenseMLP(config) if dense else None
        self.routed_before = any(layers[0] < layer_idx <= layers[-1] for layers in groups)
        self.edit = BuiltInEdit(config.moe_experts) if layer_idx in config.edited_layers else None

    def forward(
        self,
        hidden_states: Tensor,
        routing: Routing | None = None,
        factors: Factors | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Routing | None]:
        """The next residual stream, and the routing in force behind this layer, if there is one by then.

        Args:
            hidden_states: (batch, tokens, hidden).
            routing: the group's routing, where this layer owns no router. A dense layer hands it on.
            factors: (E, E) expert factors of the group, or those of each token; None for an unedited layer.
            kwargs: passed on to the attention.
        """
        attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **kwargs)
        hidden_states = hidden_states + attended
        x = self.post_attention_layernorm(hidden_states)
        if self.moe is None:
            return hidden_states + cast(DenseMLP, self.mlp)(x), routing
        if self.router is not None:
            routing = self.router(x)
        if routing is None:
            raise RuntimeError(f"layer {self.layer_idx} owns no router and was given no routing.")
        return hidden_states + self.moe(x, routing, factors), routing


@contextmanager
def patient_bars() -> Iterator[None]:
    """Inside this context, transformers shows a progress bar only for work that takes a second or more."""

    def delayed(factory: Callable[..., Any], args: Any, options: dict[str, Any]) -> Any:
        return factory(*args, **{"delay": 1.0} | options)

    before = set_tqdm_hook(delayed)
    try:
        yield
    finally:
        set_tqdm_hook(before)


class MonetPreTrainedModel(PreTrainedModel):
    """Weights handling and defaults shared by the Monet models."""

    config_class = MonetConfig
    config: MonetConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["MonetDecoderLayer"]
    _skip_keys_device_placement = ["past_key_values"]
    _keep_in_fp32_modules_strict = {"norm1", "norm2"}
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": MonetDecoderLayer, "attentions": LlamaAttention}

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the residual stream: that of the weights, or float32 where they are held in half precision."""
        return torch.float32 if is_held(self.get_input_embeddings()) else super().dtype

    @classmethod
    def from_pretrained(cls, *args: Any, freeze_routers: bool = True, **kwargs: Any) -> Any:
        """Load a checkpoint; takes the arguments of transformers' method, and one more.

        Args:
            freeze_routers: leave the routing unchanged in fine-tuning, as the paper does; see ``freeze_routers``.

        Examples:
            >>> from monet_model import MonetForCausalLM
            >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
            >>> model.config.moe_experts, model.config.routing_groups
            (512, [range(0, 2), range(2, 4)])
        """
        with patient_bars():
            loaded = super().from_pretrained(*args, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded).freeze_routers(freeze_routers)
        return loaded

    def save_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        """Write the checkpoint; takes the arguments of transformers' method."""
        with patient_bars():
            return super().save_pretrained(*args, **kwargs)

    def freeze_routers(self, frozen: bool = True) -> None:
        """Freeze or unfreeze the routers: their weights and running statistics.

        Frozen routers route as in evaluation, even in training mode. Loaded checkpoints start frozen; new models do
        not.

        Examples:
            >>> from monet_model import MonetForCausalLM
            >>> model = MonetForCausalLM.from_pretrained("monet_model/demo").train()
            >>> model.freeze_routers(False)
            >>> all(p.requires_grad for p in model.parameters())
            True
        """
        for module in self.modules():
            if isinstance(module, MonetRouter):
                module.freeze(frozen)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # Expert biases are bare parameters, which the base class leaves as they were allocated.
        for name in ("b", "b1", "b2"):
            bias = getattr(module, name, None)
            if isinstance(bias, nn.Parameter):
                nn.init.zeros_(bias)
        if isinstance(module, BuiltInEdit):
            nn.init.ones_(module.factors)


class MonetModel(MonetPreTrainedModel):
    """The decoder without its head."""

    def __init__(self, config: MonetConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(MonetDecoderLayer(config, i) for i in range(config.num_hidden_layers))
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = LlamaRotaryEmbedding(config=config)
        self.gradient_checkpointing = False
        if config.edited_layers:  # transformers wants no name here that the model does not have
            self._keep_in_fp32_modules_strict = {*type(self)._keep_in_fp32_modules_strict, "edit"}
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(  # type: ignore[misc]  # TransformersKwargs names position_ids as well
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MonetModelOutput:
        """Residual stream after the final norm; arguments as in transformers' ``LlamaModel``."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds.")
        keep_probs = kwargs.pop("output_router_probs", None)
        keep_probs = self.config.output_router_probs if keep_probs is None else keep_probs
        with_aux = kwargs.pop("with_aux_loss", False)
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        given = positions = position_ids  # `positions` are those that edits speak of
        if position_ids is None:
            seen = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = (torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device) + seen).unsqueeze(0)
            positions = token_positions(inputs_embeds.shape[:2], attention_mask, position_ids)
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=given,  # only the caller's can pack several sequences in one, which is asked of their values
        )
        position_embeddings = self.rotary_emb(inputs_embeds, position_ids=position_ids)
        hidden, routing = inputs_embeds, None
        factors: Factors | None = None
        routings: list[Routing | None] = []
        edits = active_edits(self)
        for index, layer in enumerate(self.layers):
            if layer.router is not None:
                edit = edits.get(index)
                if isinstance(edit, PositionFactors):
                    factors = edit.of(cast(Tensor, positions).expand(inputs_embeds.shape[:2]))
                else:
                    factors = edit
                if layer.edit is not None:
                    factors = cast(BuiltInEdit, layer.edit).times(factors)
            hidden, routing = layer(
                hidden,
                routing,
                factors,
                attention_mask=mask,
                position_embeddings=position_embeddings,
                position_ids=position_ids,
                past_key_values=past_key_values,
                use_cache=use_cache,
                **kwargs,
            )
            routings.append(None if layer.router is None else routing)
        routed = [one for one in routings if one is not None]
        return MonetModelOutput(
            last_hidden_state=self.norm(hidden),
            past_key_values=past_key_values,
            router_probs=tuple(None if one is None else _dense(one, hidden) for one in routings)
            if keep_probs
            else None,
            aux_loss=uniformity_loss(routed) + ambiguity_loss(routed) if with_aux else None,
        )


def _dense(routing: Routing, hidden: Tensor) -> DenseRouting:
    """(g1, g2), each (batch, tokens, heads, keys)."""
    g1, g2 = routing.dense()
    return g1.unflatten(0, hidden.shape[:2]), g2.unflatten(0, hidden.shape[:2])


class MonetForCausalLM(MonetPreTrainedModel, GenerationMixin):
    """Monet with its language-model head: a transformers model, so ``generate`` and the Auto classes work as usual.

    Examples:
        >>> import torch
        >>> from monet_model import MonetForCausalLM
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo").eval()
        >>> out = model(torch.tensor([[1, 2, 3]]), output_router_probs=True)
        >>> out.logits.shape
        torch.Size([1, 3, 4096])
        >>> g1, g2 = out.router_probs[0]  # layer 0 owns a router: (batch, tokens, heads, keys)
        >>> g1.shape
        torch.Size([1, 3, 2, 512])
    """

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: MonetConfig) -> None:
        super().__init__(config)
        self.model = MonetModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(  # type: ignore[misc]  # TransformersKwargs names position_ids as well
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        output_router_probs: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MonetOutput:
        """Next-token logits, and with ``labels`` the loss.

        Args:
            input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, labels, use_cache, logits_to_keep:
                as in transformers' ``LlamaForCausalLM``.
            output_router_probs: also return the dense routing of every layer that owns a router; by default what the
                configuration says.

        Returns:
            ``MonetOutput``: logits (batch, tokens, vocabulary), loss in nats per token. In training mode the loss
            includes ``router_aux_loss_coef`` times each auxiliary loss (arXiv 2412.04139, section 3).
        """
        keep_probs = self.config.output_router_probs if output_router_probs is None else output_router_probs
        with_aux = self.training and labels is not None and self.config.router_aux_loss_coef > 0
        with_aux = with_aux and bool(self.config.routing_groups)
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_router_probs=keep_probs,
            with_aux_loss=with_aux,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = project(self.lm_head, outputs.last_hidden_state[:, kept, :])
        loss = lm_loss = None
        if labels is not None:
            loss = lm_loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs
            )
        if outputs.aux_loss is not None:
            loss = cast(Tensor, lm_loss) + self.config.router_aux_loss_coef * outputs.aux_loss
        return MonetOutput(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            router_probs=outputs.router_probs,
            lm_loss=lm_loss,
            aux_loss=outputs.aux_loss,
        )

    def edit_experts(
        self, edits: Edits | ModelEdit | PositionedEdit, positions: Positions | None = None
    ) -> AbstractContextManager[None]:
        """Scale single experts inside a ``with`` block: ``y = sum_ij S[i, j] G[i, j] E_ij(x)``.

        Exact, and computed on the active pairs only. It applies to forward passes, generation and training in the
        calling thread; nested edits multiply.

        Args:
            edits: an ``ExpertEdit`` or ``PositionedEdit`` made for this model, or a mapping from a layer that owns a
                router to (E, E) factors: 0 removes (zero-ablates) an expert, 1 leaves it alone, 2 doubles it.
            positions: where in a sequence the factors hold: positions and slices of them, such as ``[3, slice(7, 9)]``,
                or one slice; None (default) for everywhere. They count from 0, from the first token that is no padding,
                and go on over tokens that are generated. ``position_ids`` are the positions where they are given.

        Raises:
            ValueError: a layer owns no router, a matrix is not a finite (E, E), the edit is another model's, or there
                is no such position.

        Examples:
            >>> import torch
            >>> from monet_model import MonetForCausalLM
            >>> model = MonetForCausalLM.from_pretrained("monet_model/demo").eval()
            >>> ids = torch.tensor([[1, 2, 3]])
            >>> before = model(ids).logits
            >>> with model.edit_experts({0: torch.zeros(512, 512)}):  # without any expert of the first layer group
            ...     edited = model(ids).logits
            >>> bool(torch.equal(before, edited)), bool(torch.equal(before, model(ids).logits))
            (False, True)
            >>> with model.edit_experts({0: torch.zeros(512, 512)}, positions=[2]):
            ...     bool(torch.equal(before[:, :2], model(ids).logits[:, :2]))
            True
        """
        if not isinstance(edits, Mapping):
            edits.check(self)
            if isinstance(edits, PositionedEdit):
                if positions is not None:
                    raise ValueError("a PositionedEdit says itself where it holds; leave out positions.")
                return apply_positioned(self.model, edits, self.config)
            edits = edits.matrices()
        return apply_edits(self.model, edits, self.config, positions)

    def build_in(self, edits: Edits) -> None:
        """Make an edit part of the model, multiplied with any edit already built in; it is saved with the weights.

        Args:
            edits: layer that owns a router -> (E, E) factors.

        Raises:
            ValueError: a layer owns no router, or a matrix is not a finite (E, E).

        Examples:
            >>> import torch
            >>> from monet_model import MonetForCausalLM
            >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
            >>> model.build_in({2: torch.ones(512, 512)})
            >>> model.config.edited_layers
            [2]
        """
        check_edits(edits, self.config)
        for index, factors in edits.items():
            layer = self.model.layers[index]
            if layer.edit is None:
                layer.edit = BuiltInEdit(self.config.moe_experts).to(self.device)
            layer.edit.factors.mul_(factors.to(layer.edit.factors.device))
        self.config.edited_layers = sorted({*self.config.edited_layers, *edits})


if MODEL_TYPE not in CONFIG_MAPPING:  # `discovery` has entered it already, unless transformers keeps another table
    AutoConfig.register(MODEL_TYPE, MonetConfig)
AutoModel.register(MonetConfig, MonetModel, exist_ok=True)
AutoModelForCausalLM.register(MonetConfig, MonetForCausalLM, exist_ok=True)
