"""The TransformerLens bridge on the golden checkpoints: parity, every hook, and the library's own analyses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformer_lens import patching
from transformer_lens.head_detector import detect_head
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.utilities import get_act_name
from transformer_lens.utilities import test_prompt as print_prompt
from transformers import PreTrainedTokenizerFast

from monet_model import Routing, load_lens
from monet_model.lens import ROUTING_HOOKS

GOLDEN = Path(__file__).parents[1] / "golden"
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Pair:
    """A bridge and the unhooked model of the same checkpoint."""

    path: Path
    lens: Any
    model: Any
    ids: Tensor
    vertical: bool

    @property
    def post_hooks(self) -> list[str]:
        """The hooks on hidden activations that this decomposition has."""
        return ["hook_post1", "hook_post2"] if self.vertical else ["hook_post"]


@pytest.fixture(scope="module")
def pair(golden: Any) -> Pair:
    """Bridge and model of each golden checkpoint in turn."""
    vertical = golden.model.config.moe_decompose == "vertical"
    return Pair(golden.path, load_lens(golden.path), golden.model, golden.expected["input_ids"], vertical)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The vertical golden checkpoint with a tokenizer of whole words, w3 ... w127."""
    folder = tmp_path_factory.mktemp("spoken") / "model"
    shutil.copytree(GOLDEN / "tiny-vd", folder)
    words = {"<pad>": 0, "<s>": 1, "</s>": 2} | {f"w{i}": i for i in range(3, 128)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    ).save_pretrained(folder)
    return folder


def setter(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Any], Tensor]:
    """A hook that replaces the value."""
    return lambda value, hook: change(value)


def test_lens_logits_equal_the_models(pair: Pair, error: Any) -> None:
    assert error(pair.lens(pair.ids), pair.model(pair.ids).logits) < TOLERANCE


def test_lens_config_has_the_moe_fields(pair: Pair) -> None:
    config = pair.model.config
    for name in ("moe_dim", "moe_heads", "moe_experts", "moe_topk", "moe_groups", "moe_decompose", "dense_layers"):
        assert getattr(pair.lens.cfg, name) == getattr(config, name)
    assert pair.lens.cfg.d_mlp == config.moe_dim * config.moe_experts
    assert pair.lens.cfg.eps == config.rms_norm_eps


def test_lens_cached_values_equal_the_models(pair: Pair, golden: Any, error: Any) -> None:
    """Residual stream, routing, attention and expert outputs against the golden file and the model's parts."""
    logits, cache = pair.lens.run_with_cache(pair.ids)
    expected, model = golden.expected, pair.model
    assert error(logits, expected["logits"]) < TOLERANCE
    for layer in range(model.config.num_hidden_layers):
        at, block = f"blocks.{layer}", model.model.layers[layer]
        assert error(cache[f"{at}.hook_resid_pre"], expected[f"hidden_states.{layer}"]) < TOLERANCE
        middle = cache[f"{at}.hook_resid_pre"] + cache[f"{at}.hook_attn_out"]
        assert error(middle, cache[f"{at}.hook_resid_mid"]) < TOLERANCE
        after = cache[f"{at}.hook_resid_mid"] + cache[f"{at}.mlp.hook_out"]
        assert error(after, cache[f"{at}.hook_resid_post"]) < TOLERANCE
        x = block.post_attention_layernorm(cache[f"{at}.hook_resid_mid"])
        assert error(cache[f"{at}.mlp.hook_in"], x) < TOLERANCE
        owner = layer - layer % model.config.moe_groups
        for side in ("g1", "g2"):
            assert error(cache[f"{at}.mlp.hook_{side}"], expected[f"router.{owner}.{side}"]) < TOLERANCE
        routing = Routing.from_dense(*(cache[f"{at}.mlp.hook_g{s}"] for s in "12"))
        assert error(cache[f"{at}.mlp.hook_out"], block.moe(x, routing)) < TOLERANCE
        hidden = block.moe.hidden(x)
        for name, value in zip(pair.post_hooks, hidden if pair.vertical else [hidden], strict=True):
            assert error(cache[f"{at}.mlp.{name}"], value) < TOLERANCE
            keys, units = model.config.moe_experts, model.config.moe_dim // (2 if pair.vertical else 1)
            assert cache[f"{at}.mlp.{name}"].shape[-2:] == (keys, units)


def test_lens_router_hooks_are_consistent(pair: Pair, error: Any) -> None:
    _, cache = pair.lens.run_with_cache(pair.ids)
    router = pair.model.model.layers[2].router
    z = router.logits(cache["blocks.2.router.hook_in"])
    n = router.normalise(*z)
    for side in (1, 2):
        value = {name: cache[f"blocks.3.mlp.hook_{name}{side}"] for name in ("logits", "normalized", "threshold", "g")}
        assert error(value["logits"], z[side - 1]) < TOLERANCE
        assert error(value["normalized"], n[side - 1]) < TOLERANCE
        assert torch.equal(value["g"] > 0, value["normalized"] >= value["threshold"])
        assert (value["threshold"] <= router.sigma).all()


@pytest.mark.parametrize("value", ["logits", "normalized", "threshold", "g"])
def test_lens_hooks_may_change_values_in_place(pair: Pair, value: str) -> None:
    """A value changed in place counts like one that is returned, also where gradients are off."""

    def in_place(tensor: torch.Tensor, hook: Any) -> None:
        tensor[:, :, 0].mul_(-0.5)

    def returned(tensor: torch.Tensor, hook: Any) -> torch.Tensor:
        tensor = tensor.clone()
        tensor[:, :, 0] *= -0.5
        return tensor

    name = f"blocks.0.mlp.hook_{value}1"
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            made = [pair.lens.run_with_hooks(pair.ids, fwd_hooks=[(name, hook)]) for hook in (in_place, returned)]
            plain = pair.lens(pair.ids)
        assert torch.equal(*made)
        assert not torch.equal(made[0], plain)


def test_lens_every_documented_hook_exists_and_fires(pair: Pair) -> None:
    _, cache = pair.lens.run_with_cache(pair.ids)
    for layer in range(4):
        names = ["hook_in", "hook_out", *ROUTING_HOOKS, *pair.post_hooks]
        assert all(f"blocks.{layer}.mlp.{name}" in cache for name in names)
        assert (f"blocks.{layer}.router.hook_g1" in cache) == (layer % 2 == 0)
    unfired = {name for name in pair.lens.hook_dict if name not in cache}
    assert not [name for name in unfired if ".mlp." in name or ".router." in name]


def test_lens_short_names_reach_the_hooks(pair: Pair) -> None:
    """TransformerLens takes g1 for g of layer 1; with an underscore the number stays part of the name."""
    _, cache = pair.lens.run_with_cache(pair.ids)
    values = ["logits", "normalized", "threshold", "g", *(["post"] if pair.vertical else [])]
    for value in values:
        for side in (1, 2):
            for layer in (0, 3, -1):
                wanted = cache[f"blocks.{layer % 4}.mlp.hook_{value}{side}"]
                assert cache[f"{value}_{side}", layer].data_ptr() == wanted.data_ptr()
    if not pair.vertical:
        assert cache["post", 1] is cache["blocks.1.mlp.hook_post"]
    seen: list[tuple[int, ...]] = []
    hook = (get_act_name("g_2", 1), lambda value, hook: seen.append(tuple(value.shape)))
    pair.lens.run_with_hooks(pair.ids, fwd_hooks=[hook])
    assert seen == [(2, 12, 2, 16)]


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("side", [1, 2])
def test_lens_zeroing_a_key_equals_ablating_its_experts(pair: Pair, error: Any, layer: int, side: int) -> None:
    """Setting g changes the forward pass of the whole group, through whichever layer it is reached."""
    key = int(pair.model(pair.ids, output_router_probs=True).router_probs[0][side - 1].sum((0, 1, 2)).argmax())
    factors = torch.ones(16, 16)
    factors.select(side - 1, key).zero_()

    def drop(g: Tensor, hook: Any) -> Tensor:
        g[..., key] = 0
        return g

    hooked = pair.lens.run_with_hooks(pair.ids, fwd_hooks=[(f"blocks.{layer}.mlp.hook_g{side}", drop)])
    with pair.model.edit_experts({0: factors}):
        edited = pair.model(pair.ids).logits
    assert error(hooked, edited) < TOLERANCE
    assert error(hooked, pair.model(pair.ids).logits) > 1e-3
    assert error(pair.lens(pair.ids), pair.model(pair.ids).logits) < TOLERANCE, "the hook is gone afterwards"


def test_lens_every_hooked_value_can_be_set(pair: Pair, error: Any) -> None:
    plain = pair.lens(pair.ids)
    changes: dict[str, Callable[[Tensor], Tensor]] = {
        "hook_in": torch.zeros_like,
        "hook_logits1": torch.zeros_like,
        "hook_logits2": lambda z: z * 3,
        "hook_normalized1": lambda n: n.flip(-1),
        "hook_threshold2": lambda t: t + 99,
        "hook_g1": lambda g: g.roll(1, -1),
        "hook_g2": lambda g: g * 2,
        "hook_out": torch.zeros_like,
        **dict.fromkeys(pair.post_hooks, lambda a: a * 2),
    }
    for name, change in changes.items():
        hooked = pair.lens.run_with_hooks(pair.ids, fwd_hooks=[(f"blocks.2.mlp.{name}", setter(change))])
        assert torch.isfinite(hooked).all(), name
        assert error(hooked, plain) > 1e-4, name


def test_lens_threshold_above_every_key_leaves_the_highest(pair: Pair) -> None:
    hook = ("blocks.0.mlp.hook_threshold1", setter(lambda t: t + 99))
    with pair.lens.hooks(fwd_hooks=[hook]):
        _, cache = pair.lens.run_with_cache(pair.ids, names_filter=["blocks.0.mlp.hook_g1"])
    g = cache["blocks.0.mlp.hook_g1"]
    assert ((g > 0).sum(-1) == 1).all()
    assert (g.amax(-1) == 1).all()


def test_lens_mlp_input_reaches_the_router(pair: Pair, error: Any) -> None:
    x = torch.randn(2, 12, 32)
    with pair.lens.hooks(fwd_hooks=[("blocks.2.mlp.hook_in", setter(lambda _: x))]):
        _, cache = pair.lens.run_with_cache(pair.ids, names_filter=lambda name: name.startswith("blocks.2"))
    g1, g2 = (g.unflatten(0, (2, 12)) for g in pair.model.model.layers[2].router(x).dense())
    assert error(cache["blocks.2.mlp.hook_g1"], g1) < TOLERANCE
    assert error(cache["blocks.2.mlp.hook_g2"], g2) < TOLERANCE


def test_lens_supports_expert_edits(pair: Pair, golden: Any, error: Any) -> None:
    """And hooks go on firing under them."""
    edits = {layer: golden.expected[f"masked.keep.{layer}"].float() for layer in (0, 2)}
    names = [f"blocks.{layer}.mlp.{name}" for layer in range(4) for name in ("hook_out", *pair.post_hooks)]
    with pair.lens.original_model.edit_experts(edits):
        logits, cache = pair.lens.run_with_cache(pair.ids, names_filter=names)
    assert error(logits, golden.expected["masked.logits"]) < TOLERANCE
    for layer in range(4):
        assert error(cache[f"blocks.{layer}.mlp.hook_out"], golden.expected[f"masked.moe_out.{layer}"]) < TOLERANCE


def test_lens_cache_supports_names_filters_and_slices(pair: Pair) -> None:
    _, cache = pair.lens.run_with_cache(pair.ids, names_filter=lambda name: name.endswith("hook_resid_post"))
    assert list(cache) == [f"blocks.{layer}.hook_resid_post" for layer in range(4)]
    _, cache = pair.lens.run_with_cache(pair.ids, names_filter="blocks.1.mlp.hook_g1", pos_slice=-1)
    assert cache["blocks.1.mlp.hook_g1"].shape == (2, 1, 2, 16)
    _, cache = pair.lens.run_with_cache(pair.ids[:1], names_filter=["blocks.0.mlp.hook_g2"], remove_batch_dim=True)
    assert cache["blocks.0.mlp.hook_g2"].shape == (12, 2, 16)
    residual, cache = pair.lens.run_with_cache(pair.ids, stop_at_layer=2)
    assert residual.shape == (2, 12, 32)
    assert "blocks.1.mlp.hook_out" in cache
    assert "blocks.2.mlp.hook_out" not in cache


def test_lens_starts_only_at_layers_that_own_a_router(pair: Pair, error: Any) -> None:
    logits, cache = pair.lens.run_with_cache(pair.ids)
    assert error(pair.lens(cache["blocks.2.hook_resid_pre"], start_at_layer=2), logits) < TOLERANCE
    with pytest.raises(ValueError, match="start_at_layer=3.*owns a router"):
        pair.lens(cache["blocks.3.hook_resid_pre"], start_at_layer=3)
    assert error(pair.lens(pair.ids), logits) < TOLERANCE


def test_lens_residual_stream_decomposes(pair: Pair, error: Any) -> None:
    _, cache = pair.lens.run_with_cache(pair.ids)
    parts, labels = cache.decompose_resid(layer=-1, return_labels=True)
    assert labels == ["embed", *(f"{layer}_{part}" for layer in range(4) for part in ("attn_out", "mlp_out"))]
    assert error(parts.sum(0), cache["blocks.3.hook_resid_post"]) < TOLERANCE
    heads = cache.stack_head_results(layer=-1)
    assert heads.shape == (16, 2, 12, 32)
    assert error(heads[4:8].sum(0), cache["blocks.1.hook_attn_out"]) < TOLERANCE


def test_lens_logit_lens_equals_the_models_head(pair: Pair, error: Any) -> None:
    logits, cache = pair.lens.run_with_cache(pair.ids)
    streams, labels = cache.accumulated_resid(layer=-1, return_labels=True)
    assert labels == ["0_pre", "1_pre", "2_pre", "3_pre", "final_post"]
    each = torch.stack([pair.lens.unembed(pair.lens.ln_final(stream)) for stream in streams])
    assert error(each[-1], logits) < TOLERANCE
    with torch.no_grad():
        early = pair.model.lm_head(pair.model.model.norm(cache["blocks.1.hook_resid_pre"]))
    assert error(each[1], early) < TOLERANCE


def test_lens_logit_attributions_sum_to_the_logit(pair: Pair, error: Any) -> None:
    """After folding, the final norm is a scale alone, and the parts' contributions add up."""
    lens: Any = load_lens(pair.path)
    lens.enable_compatibility_mode(center_unembed=False)
    logits, cache = lens.run_with_cache(pair.ids)
    tokens = pair.ids.roll(-1, 1)
    attributions = cache.logit_attrs(cache.decompose_resid(layer=-1), tokens=tokens)
    assert error(attributions.sum(0), logits.gather(-1, tokens[..., None])[..., 0]) < TOLERANCE


def test_lens_compatibility_mode_keeps_the_probabilities(pair: Pair, error: Any) -> None:
    """Folding the norms leaves the predictions; every norm weight, before routers and experts too, becomes 1."""
    lens: Any = load_lens(pair.path)
    lens.enable_compatibility_mode()
    expected = pair.model(pair.ids).logits.log_softmax(-1)
    logits, cache = lens.run_with_cache(pair.ids)
    assert error(logits.log_softmax(-1), expected) < TOLERANCE
    for block in lens.blocks:
        assert (block.ln1.weight == 1).all()
        assert (block.ln2.weight == 1).all()
    assert "blocks.1.mlp.hook_g1" in cache
    assert "blocks.1.hook_mlp_out" in cache


def test_lens_activation_patching_restores_the_clean_logits(pair: Pair, error: Any) -> None:
    """Clean values put into a corrupted run, layer by layer at the corrupted position, bring the clean logits back."""
    corrupted = pair.ids.clone()
    corrupted[:, 3] = 77
    clean_logits, cache = pair.lens.run_with_cache(pair.ids)
    spoilt = pair.lens(corrupted)
    assert error(spoilt, clean_logits) > 1e-2

    def patch(value: Tensor, hook: Any) -> Tensor:
        value[:, 3] = cache[hook.name][:, 3]
        return value

    whole = pair.lens.run_with_hooks(corrupted, fwd_hooks=[("blocks.0.hook_in", patch)])
    assert error(whole, clean_logits) < TOLERANCE
    effect = []
    for layer in range(4):
        for name in (f"blocks.{layer}.mlp.hook_out", f"blocks.{layer}.attn.hook_out"):
            effect.append(error(pair.lens.run_with_hooks(corrupted, fwd_hooks=[(name, patch)]), spoilt))
    assert all(size > 0 for size in effect)


def test_lens_gradients_reach_the_hooks(pair: Pair) -> None:
    names = ["blocks.0.router.hook_g1", "blocks.1.mlp.hook_out", f"blocks.3.mlp.{pair.post_hooks[0]}"]
    _, cache = pair.lens.run_with_cache(pair.ids, incl_bwd=True, return_type="loss", names_filter=names)
    for name in names:
        gradient = cache[f"{name}_grad"]
        assert gradient.shape == cache[name].shape, name
        assert gradient.abs().max() > 0, name
    pair.lens.zero_grad()


def test_lens_generates_what_the_model_does(pair: Pair) -> None:
    options: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False}
    expected = pair.model.generate(pair.ids[:, :4], **options)
    assert torch.equal(pair.lens.generate(pair.ids[:, :4], **options, verbose=False), expected)


def test_lens_runs_in_bfloat16(pair: Pair) -> None:
    """Close on the whole: single tokens may differ more, where a key lies at its threshold."""
    lens = load_lens(pair.path, dtype=torch.bfloat16)
    logits, cache = lens.run_with_cache(pair.ids)
    assert logits.dtype == torch.bfloat16
    assert cache["blocks.0.mlp.hook_g1"].dtype == torch.float32
    expected = pair.model(pair.ids).logits
    assert (logits - expected).abs().median() < 0.02 * expected.abs().max()


@pytest.mark.parametrize("sweep", ["resid_pre", "resid_mid", "attn_out", "mlp_out", "attn_head_out_by_pos"])
def test_lens_patching_sweeps(pair: Pair, error: Any, sweep: str) -> None:
    """TransformerLens' own sweeps: the clean residual stream at the corrupted position brings the clean value back."""
    clean, corrupted = pair.ids[:1], pair.ids[:1].clone()
    corrupted[:, 3] = 77
    logits, cache = pair.lens.run_with_cache(clean)
    effect = getattr(patching, f"get_act_patch_{sweep}")(pair.lens, corrupted, cache, lambda out: out[0, -1, 5])
    assert effect.shape[:2] == (4, clean.shape[1])
    before = pair.lens(corrupted)[0, -1, 5]
    assert error(effect[:, :3], before.expand_as(effect[:, :3])) < TOLERANCE, "nothing changed at earlier positions"
    assert (effect[:, 3] - before).abs().max() > 1e-3
    if sweep == "resid_pre":
        assert error(effect[0, 3], logits[0, -1, 5]) < TOLERANCE


def test_lens_full_decomposition_without_neurons(pair: Pair, error: Any) -> None:
    """By head and expert layer: an expert layer's hidden units have no output weights of their own to expand by."""
    _, cache = pair.lens.run_with_cache(pair.ids)
    parts = cache.get_full_resid_decomposition(layer=-1, expand_neurons=False)
    assert error(parts.sum(0), cache["blocks.3.hook_resid_post"]) < TOLERANCE


@pytest.mark.parametrize(
    "fields",
    [
        {"num_key_value_heads": 2},
        {"tie_word_embeddings": True},
        {"moe_groups": 1},
        {"moe_experts": 40, "moe_topk": 2},
        {"edited_layers": [2]},
    ],
)
def test_lens_takes_other_model_shapes(make_model: Any, error: Any, tmp_path: Path, fields: dict[str, Any]) -> None:
    model = make_model(moe_decompose="horizontal", **fields)
    for layer in fields.get("edited_layers", []):
        model.build_in({layer: torch.rand(8, 8) * 2})
    model.save_pretrained(tmp_path)
    lens, ids = load_lens(tmp_path), torch.tensor([[5, 9, 2, 40, 33]])
    with torch.no_grad():
        assert error(lens(ids), model(ids).logits) < TOLERANCE
        lens.enable_compatibility_mode()
        assert error(lens(ids).log_softmax(-1), model(ids).logits.log_softmax(-1)) < TOLERANCE


@torch.no_grad()
def test_lens_of_a_mixed_model(mixed_model: Any, error: Any, tmp_path: Path) -> None:
    """A dense layer has the hooks of TransformerLens' gated MLPs, a layer with experts those of Monet."""
    mixed_model.save_pretrained(tmp_path)
    lens, ids = load_lens(tmp_path), torch.tensor([[5, 9, 2, 40, 33]])
    expected = mixed_model(ids).logits
    logits, cache = lens.run_with_cache(ids)
    assert error(logits, expected) < TOLERANCE
    assert lens.cfg.dense_layers == mixed_model.config.dense_layers
    for layer, group in enumerate(mixed_model.config.layer_groups):
        at, block = f"blocks.{layer}.mlp", mixed_model.model.layers[layer]
        after = cache[f"blocks.{layer}.hook_resid_mid"] + cache[f"{at}.hook_out"]
        assert error(after, cache[f"blocks.{layer}.hook_resid_post"]) < TOLERANCE
        assert (f"{at}.hook_g1" in cache) == (group >= 0)
        assert (f"{at}.hook_pre" in cache) == (group < 0)
        if group < 0:
            x = cache[f"{at}.hook_in"]
            assert error(x, block.post_attention_layernorm(cache[f"blocks.{layer}.hook_resid_mid"])) < TOLERANCE
            assert error(cache["post", layer], block.mlp.neurons(x)) < TOLERANCE
            pre, linear = cache[f"{at}.hook_pre"], cache[f"{at}.hook_pre_linear"]
            assert error(torch.nn.functional.silu(pre) * linear, cache["post", layer]) < TOLERANCE
        found = lens.adapter.get_component(mixed_model, at)
        assert found is (block.mlp if group < 0 else block.moe)
        if group < 0:
            assert lens.adapter.get_component(mixed_model, f"{at}.out") is block.mlp.down_proj
    unfired = [name for name in lens.hook_dict if name not in cache and (".mlp." in name or ".router." in name)]
    assert not unfired


@torch.no_grad()
def test_lens_sets_values_of_a_mixed_model(mixed_model: Any, error: Any, tmp_path: Path) -> None:
    mixed_model.save_pretrained(tmp_path)
    lens, ids = load_lens(tmp_path), torch.tensor([[5, 9, 2, 40, 33]])
    plain, dense = lens(ids), mixed_model.config.dense_layers[0]
    for name in ("hook_in", "hook_pre", "hook_pre_linear", "hook_post", "hook_out"):
        hooked = lens.run_with_hooks(ids, fwd_hooks=[(f"blocks.{dense}.mlp.{name}", setter(lambda value: value * 3))])
        assert error(hooked, plain) > 1e-3, name
    edits = {mixed_model.config.routing_groups[0][0]: torch.rand(8, 8) * 2}
    with mixed_model.edit_experts(edits), lens.original_model.edit_experts(edits):
        assert error(lens(ids), mixed_model(ids).logits) < TOLERANCE


@pytest.mark.parametrize("act", ["silu", "mish"])  # TransformerLens knows no mish
@torch.no_grad()
def test_lens_folds_the_norms_of_a_mixed_model(make_model: Any, error: Any, tmp_path: Path, act: str) -> None:
    model = make_model(dense_layers=[0, 2], intermediate_size=20, hidden_act=act)
    model.save_pretrained(tmp_path)
    lens, ids = load_lens(tmp_path), torch.tensor([[5, 9, 2, 40, 33]])
    lens.enable_compatibility_mode()
    logits, cache = lens.run_with_cache(ids)
    assert error(logits.log_softmax(-1), model(ids).logits.log_softmax(-1)) < TOLERANCE
    assert all((block.ln2.weight == 1).all() for block in lens.blocks)
    assert cache["blocks.0.mlp.hook_post"].shape == (1, 5, 20)


@torch.no_grad()
def test_lens_starts_a_mixed_model_where_no_routing_is_missing(make_model: Any, error: Any, tmp_path: Path) -> None:
    """Layers 1 and 3 share a router, so the dense layer between them is no place to start."""
    model = make_model(num_hidden_layers=6, dense_layers=[0, 2, 4, 5], intermediate_size=20, hidden_act="silu")
    model.save_pretrained(tmp_path)
    lens, ids = load_lens(tmp_path), torch.tensor([[5, 9, 2, 40, 33]])
    logits, cache = lens.run_with_cache(ids)
    for layer in (1, 4, 5):
        assert error(lens(cache[f"blocks.{layer}.hook_resid_pre"], start_at_layer=layer), logits) < TOLERANCE
    for layer in (2, 3):
        with pytest.raises(ValueError, match=f"start_at_layer={layer}.*owns a router"):
            lens(cache[f"blocks.{layer}.hook_resid_pre"], start_at_layer=layer)


def test_lens_text_tools_use_the_tokenizer(spoken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a tokenizer: text in, TransformerLens' own probes on top."""
    lens = TransformerBridge.boot_transformers(str(spoken))
    assert lens.to_tokens("w5 w6").tolist() == [[1, 5, 6]]
    logits = lens("w5 w6 w7")
    assert torch.equal(logits, lens(torch.tensor([[1, 5, 6, 7]])))
    print_prompt("w5 w6", "w7", lens, prepend_space_to_answer=False)
    assert "Rank" in capsys.readouterr().out
    scores = detect_head(lens, "w5 w6 w7 w8 w5 w6 w7", "previous_token_head")
    assert scores.shape == (4, 4)
    assert torch.isfinite(scores).all()
    assert isinstance(lens.generate("w5 w6", max_new_tokens=3, do_sample=False, verbose=False), str)
    assert isinstance(load_lens(spoken).tokenizer, PreTrainedTokenizerFast)


def test_load_lens_without_a_tokenizer_refuses_unknown_options() -> None:
    with pytest.raises(TypeError, match="n_devices"):
        load_lens(GOLDEN / "tiny-vd", n_devices=2)


def test_a_typed_start_of_text_is_text() -> None:
    lens = load_lens("monet_model/demo", device="cpu")
    ids = lens.to_tokens("<s>def f(")[0].tolist()
    assert ids[0] == 0
    assert 0 not in ids[1:]
