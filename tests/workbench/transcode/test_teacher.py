"""Loading a teacher, what its MLPs read and write, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from workbench.errors import BadInputError, NotFoundError, UnsupportedError
from workbench.transcode import Teacher, load_teacher
from workbench.transcode.teacher import plain


def test_inputs_and_outputs_are_the_mlps(teacher: Teacher) -> None:
    ids = torch.randint(0, 64, (3, 10), generator=torch.Generator().manual_seed(0))
    x = teacher.inputs(ids, (1, 3))
    assert x.shape == (3, 2, 10, 32)
    seen: dict[int, tuple[Tensor, Tensor]] = {}
    hooks = [
        teacher.mlp(layer).register_forward_hook(
            lambda _module, args, out, layer=layer: seen.update({layer: (args[0], out)})
        )
        for layer in (1, 3)
    ]
    teacher.model(ids)
    for hook in hooks:
        hook.remove()
    tokens = x.transpose(0, 1).flatten(1, 2)  # (layers, tokens, hidden)
    y = teacher.outputs(tokens, (1, 3))
    gates = teacher.gates(tokens, (1, 3))
    for place, layer in enumerate((1, 3)):
        torch.testing.assert_close(tokens[place], seen[layer][0].flatten(0, 1))
        torch.testing.assert_close(y[place], seen[layer][1].flatten(0, 1))
        mlp = teacher.mlp(layer)
        own = gates[:, 48 * place : 48 * (place + 1)]
        torch.testing.assert_close(mlp.down_proj(own * mlp.up_proj(tokens[place])), y[place])


def test_later_layers_are_not_run(teacher: Teacher) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("layer 2 was run")

    hook = teacher.model.model.layers[2].register_forward_pre_hook(fail)
    teacher.inputs(torch.zeros(1, 4, dtype=torch.long), (0, 1))
    hook.remove()


def test_a_layer_that_is_not_there_is_refused(teacher: Teacher) -> None:
    with pytest.raises(BadInputError, match="has no layer 4; its layers are 0 to 3"):
        teacher.check_layers((3, 4))


def test_identity_is_that_of_the_weights(teacher: Teacher, teacher_path: Path, tmp_path: Path) -> None:
    assert load_teacher(teacher_path, device="cpu").identity == teacher.identity
    with torch.no_grad():
        teacher.model.lm_head.weight[0, 0] += 1
    teacher.model.save_pretrained(tmp_path)
    assert load_teacher(tmp_path, device="cpu").identity != teacher.identity


def test_models_of_other_shapes_are_refused_by_name(tmp_path: Path) -> None:
    shape = {"n_embd": 8, "n_layer": 1, "n_head": 1, "vocab_size": 16, "n_positions": 8}
    GPT2LMHeadModel(GPT2Config(**shape)).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedError, match="a gpt2 model has LayerNorm and learned positions"):
        load_teacher(tmp_path, device="cpu")


def test_a_missing_model_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no model folder"):
        load_teacher(tmp_path / "nothing")
    with pytest.raises(NotFoundError, match="no GGUF file .*teacher.gguf"):
        load_teacher(tmp_path, gguf_file="teacher.gguf")


def test_a_dequantised_model_can_be_saved(teacher: Teacher, tmp_path: Path) -> None:
    teacher.model.config.quantization_config = {"quant_method": "gguf"}
    made = plain(teacher.model)
    assert not hasattr(made.config, "quantization_config")
    ids = torch.arange(8)[None]
    assert torch.equal(made(ids).logits, teacher.model(ids).logits)
    made.save_pretrained(tmp_path)
