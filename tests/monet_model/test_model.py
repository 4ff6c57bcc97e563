"""The model as a transformers model: other shapes, saving, masks, dtypes, checkpointing, caches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModel, AutoModelForCausalLM
from transformers.generation.configuration_utils import ALL_CACHE_IMPLEMENTATIONS

from monet_model import MonetForCausalLM, MonetModel, Routing

IDS = torch.tensor([[3, 17, 8, 44, 59, 21, 5], [9, 9, 30, 12, 2, 60, 33]])
SHAPES: dict[str, dict[str, Any]] = {
    "grouped-kv": {"num_key_value_heads": 2},
    "one-kv-head": {"num_key_value_heads": 1},
    "wide-heads": {"head_dim": 8},
    "tied": {"tie_word_embeddings": True},
    "router-everywhere": {"moe_groups": 1},
    "one-router": {"moe_groups": 9},
    "last-group-short": {"num_hidden_layers": 3},
    "one-routing-head": {"moe_heads": 1},
    "top-1": {"moe_topk": 1},
    "many-keys": {"moe_experts": 40, "moe_topk": 7},
    "one-unit-a-half": {"moe_dim": 2},
    "few-active": {"moe_experts": 40, "moe_topk": 2},
    "nearly-all-active": {"moe_topk": 7},
    "nothing-even": {
        "num_hidden_layers": 5,
        "moe_groups": 3,
        "moe_heads": 1,
        "moe_experts": 11,
        "moe_dim": 6,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
}


@pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_model_of_any_shape_equals_the_dense_oracle(
    make_model: Any, oracle: Any, error: Any, shape: str, decompose: str
) -> None:
    model = make_model(moe_decompose=decompose, **SHAPES[shape])
    assert error(model(IDS).logits, oracle(model)(IDS)) < 1e-5


@pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
@torch.no_grad()
def test_expert_layer_takes_any_routing(make_model: Any, oracle: Any, error: Any, decompose: str) -> None:
    """A hook may set g1 or g2 to anything: sums other than 1, negative entries, nothing active."""
    model = make_model(moe_decompose=decompose).double()
    x = torch.randn(5, 24, dtype=torch.float64)
    g1, g2 = torch.randn(2, 5, 2, 8, dtype=torch.float64)
    g1[3], g2[4, 0] = 0, 0
    out = model.model.layers[1].moe(x, Routing.from_dense(g1, g2))
    assert error(out, oracle(model).moe(1, x, g1, g2)) < 1e-12


@pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
@pytest.mark.parametrize("edited", [False, True])
@torch.no_grad()
def test_expert_layer_output_does_not_depend_on_chunking(
    make_model: Any, oracle: Any, error: Any, decompose: str, edited: bool
) -> None:
    """In float64: inference takes tokens in chunks, and what each token gets is its own."""
    model = make_model(moe_decompose=decompose, moe_experts=40, moe_topk=2).double()
    x = torch.randn(3, 400, 24, dtype=torch.float64)
    g1, g2 = oracle(model).routing(0, x)
    factors = torch.rand(40, 40, dtype=torch.float64) if edited else None
    out = model.model.layers[1].moe(x, Routing.from_dense(g1, g2), factors)
    few = x[:, ::50]
    expected = oracle(model).moe(1, few, g1[:, ::50], g2[:, ::50], factors)
    assert error(out[:, ::50], expected) < 1e-12


def test_model_state_dict_has_the_published_names(golden: Any) -> None:
    with safe_open(golden.path / "model.safetensors", "pt") as file:
        published = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    assert {name: tuple(tensor.shape) for name, tensor in golden.model.state_dict().items()} == published


def test_routers_stand_where_groups_start(make_model: Any) -> None:
    names = make_model(num_hidden_layers=5).state_dict()
    assert {int(name.split(".")[2]) for name in names if ".router." in name} == {0, 2, 4}


@pytest.mark.parametrize("shard", ["1GB", "20KB"])
@pytest.mark.parametrize("fields", [{}, {"moe_decompose": "horizontal", "tie_word_embeddings": True}])
@torch.no_grad()
def test_model_survives_saving_and_loading(make_model: Any, tmp_path: Path, shard: str, fields: dict[str, Any]) -> None:
    model = make_model(**fields)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard == "20KB")
    loaded: Any = MonetForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    again, loading = loaded
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert torch.equal(again.eval()(IDS).logits, model(IDS).logits)


@torch.no_grad()
def test_auto_classes_load_the_model(golden: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(golden.path).eval()
    assert type(model) is MonetForCausalLM
    assert torch.equal(model(golden.expected["input_ids"]).logits, golden.model(golden.expected["input_ids"]).logits)
    assert type(AutoModel.from_pretrained(golden.path)) is MonetModel


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_model_logits_do_not_depend_on_left_padding(make_model: Any, error: Any, attention: str) -> None:
    model = make_model(attn_implementation=attention)
    short = IDS[:1, 2:]
    padded = torch.cat([torch.cat([torch.zeros(1, 2, dtype=torch.long), short], 1), IDS[1:]])
    mask = torch.ones_like(padded)
    mask[0, :2] = 0
    batch = model(padded, attention_mask=mask).logits
    assert error(batch[:1, 2:], model(short).logits) < 1e-5
    assert error(batch[1:], model(IDS[1:]).logits) < 1e-5
    made = model.generate(padded, attention_mask=mask, max_new_tokens=5, do_sample=False, pad_token_id=0)
    alone = model.generate(short, attention_mask=torch.ones_like(short), max_new_tokens=5, do_sample=False)
    assert torch.equal(made[0, 2:], alone[0])


@torch.no_grad()
def test_model_attention_implementations_agree(make_model: Any, error: Any) -> None:
    outputs = [make_model(attn_implementation=kind)(IDS).logits for kind in ("eager", "sdpa")]
    assert error(outputs[0], outputs[1]) < 1e-5


def test_model_eager_attention_returns_its_patterns(make_model: Any) -> None:
    out = make_model(attn_implementation="eager")(IDS, output_attentions=True)
    assert [a.shape for a in out.attentions] == [(2, 4, 7, 7)] * 4


@pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
@torch.no_grad()
def test_model_in_bfloat16_routes_in_float32(make_model: Any, error: Any, tmp_path: Path, decompose: str) -> None:
    full = make_model(moe_decompose=decompose)
    full.save_pretrained(tmp_path)
    model = MonetForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    out = model(IDS, output_router_probs=True)
    assert out.logits.dtype == torch.bfloat16
    g1, g2 = out.router_probs[0]
    assert g1.dtype == g2.dtype == torch.float32
    assert torch.allclose(g1.sum(-1), torch.ones(()), atol=1e-6)
    assert error(out.logits, full(IDS).logits) < 0.1
    with model.edit_experts({0: torch.ones(8, 8)}):
        assert error(model(IDS).logits, out.logits) < 0.05


@torch.no_grad()
def test_model_under_autocast_routes_in_float32(make_model: Any) -> None:
    model = make_model()
    plain = model.model.layers[0].router(torch.ones(1, 3, 24))
    with torch.autocast("cpu", torch.bfloat16):
        routed = model.model.layers[0].router(torch.ones(1, 3, 24))
    assert all(torch.equal(a, b) for a, b in zip(plain.dense(), routed.dense(), strict=True))


@pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
def test_model_gradient_checkpointing_changes_nothing(make_model: Any, decompose: str) -> None:
    """Gradients, and the running statistics that a training step leaves, are those of the plain step."""
    states = []
    for checkpointing in (False, True):
        model = make_model(moe_decompose=decompose, router_aux_loss_coef=0.1).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(IDS, labels=IDS, use_cache=False).loss.backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        states.append(gradients | dict(model.named_buffers()))
    for name, plain in states[0].items():
        assert plain is not None, name
        assert torch.allclose(states[1][name], plain, rtol=1e-5, atol=1e-7), name


@pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
@pytest.mark.parametrize("kind", ALL_CACHE_IMPLEMENTATIONS)
def test_model_generates_with_every_cache(make_model: Any, kind: str, decompose: str) -> None:
    """The kinds that transformers knows for a LLaMA; edited too. A quantised one keeps the prompt approximately."""
    offloaded = "offloaded" in kind
    if offloaded and not torch.cuda.is_available():
        pytest.skip("transformers offloads a cache from a GPU to the CPU; there is no GPU")
    model = make_model(moe_decompose=decompose).to("cuda" if offloaded else "cpu")
    options: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False}
    with model.edit_experts({0: torch.rand(8, 8)}):
        expected = model.generate(IDS.to(model.device), **options, use_cache=False)
        if kind == "quantized":
            pytest.importorskip("optimum.quanto", reason="a quantised cache needs optimum-quanto")
            options["cache_config"] = {"backend": "quanto", "nbits": 4, "q_group_size": 24}  # divides its few numbers
        made = model.generate(IDS.to(model.device), **options, cache_implementation=kind, disable_compile=True)
    kept = IDS.shape[1] + 1 if kind == "quantized" else None
    assert made.shape == expected.shape
    assert torch.equal(made[:, :kept], expected[:, :kept])


def test_model_beam_search_reorders_the_cache(make_model: Any) -> None:
    model = make_model()
    made = [model.generate(IDS, max_new_tokens=6, num_beams=3, do_sample=False, use_cache=c) for c in (True, False)]
    assert torch.equal(*made)


@torch.no_grad()
def test_model_takes_logits_to_keep_and_embeddings(make_model: Any) -> None:
    model = make_model()
    logits = model(IDS).logits
    assert torch.equal(model(IDS, logits_to_keep=2).logits, logits[:, -2:])
    assert torch.equal(model(inputs_embeds=model.get_input_embeddings()(IDS)).logits, logits)
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
        model()


@torch.no_grad()
def test_model_returns_router_probs_only_on_request(make_model: Any) -> None:
    assert make_model()(IDS).router_probs is None
    assert [p is None for p in make_model(output_router_probs=True)(IDS).router_probs] == [False, True] * 2


@pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
@torch.no_grad()
def test_expert_layers_compile_without_breaks(make_model: Any, error: Any, decompose: str) -> None:
    model = make_model(moe_decompose=decompose)
    layer, x = model.model.layers[0], torch.randn(2, 5, 24)

    def experts(x: torch.Tensor) -> torch.Tensor:
        return layer.moe(x, layer.router(x))

    compiled = torch.compile(experts, fullgraph=True, backend="aot_eager")
    assert error(compiled(x), experts(x)) < 1e-6


def test_expert_layers_compile_for_a_second_threshold(make_model: Any) -> None:
    """torch.compile takes a number that differs from model to model for one that varies."""
    for topk in (2, 3):
        model = make_model(num_hidden_layers=1, moe_topk=topk)
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(IDS, use_cache=False).logits.argmax(-1), model(IDS).logits.argmax(-1))


def test_decoder_layers_compile_with_their_gradients(make_model: Any, error: Any) -> None:
    gradients = []
    for compile_it in (False, True):
        model = make_model(num_hidden_layers=1, router_aux_loss_coef=0.0).train()
        run = torch.compile(model, fullgraph=True, backend="aot_eager") if compile_it else model
        run(IDS, use_cache=False).logits.square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, plain in gradients[0].items():
        assert error(gradients[1][name], plain) < 1e-5, name
