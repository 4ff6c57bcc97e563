"""transformers' own common tests on Monet, as on the models that transformers ships.

Its source distribution has the tests of configurations, models and training, not those of generation and export; both
are tested in tests/monet_model. A test that does not apply is skipped by name, in ``NOT_APPLICABLE``, with its reason.
"""

from __future__ import annotations

import os
import unittest
from typing import Any

import torch

from monet_model import MonetConfig, MonetForCausalLM, MonetModel

from .sources import load

configurations, models, training = load("test_configuration_common", "test_modeling_common", "test_training_mixin")

# Tests that have no subject in Monet, by the beginning of their names. What lacks hardware or a library skips itself.
NOT_APPLICABLE = {
    "test_attn_implementation_composite_models": "Monet is one model, not composed of several",
    "test_can_set_attention_dynamically_composite_model": "Monet is one model, not composed of several",
    "test_internal_model_config_and_subconfig_are_same": "Monet is one model, not composed of several",
    "test_sdpa_can_dispatch_composite_models": "Monet is one model, not composed of several",
    "test_can_load_from_already_mapped_keys": "checkpoints have the names of the model's weights, and need no mapping",
    "test_reverse_loading_mapping": "checkpoints have the names of the model's weights, and need no mapping",
    "test_encoder_decoder_loss_no_double_shift": "Monet is a decoder",
    "test_eager_matches_batched_and_grouped_inference": "experts are products of keys, evaluated by kernels of our own",
    "test_moe_models_record_router_logits": "experts are products of keys, evaluated by kernels of our own",
    "test_output_router_logits_from_config": "dense probabilities come with output_router_probs, not as router logits",
    "test_model_rope_with_partial_rotation": "positions rotate whole heads, as in LLaMA",
    "test_vision_axial_rope": "Monet reads text",
    "test_resize_position_vector_embeddings": "positions are rotary, and have no embeddings",
    "test_sliding_window_mask": "attention is full, as in LLaMA",
    "test_tied_head_has_a_tp_plan_entry": "there is no plan to split experts across devices; monet_model/config.py",
    "test_tp_plan_matches_params": "there is no plan to split experts across devices; monet_model/config.py",
}


class SmallModels:
    """Makes small models and inputs for them, under the names that transformers' tests use."""

    batch_size = 3
    seq_length = 7
    is_training = True
    num_hidden_layers = 2
    hidden_size = 32
    num_attention_heads = 4
    vocab_size = 99
    encoder_seq_length = 7
    key_length = 7
    causal_lm_class = MonetForCausalLM

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields

    def get_config(self) -> MonetConfig:
        sizes: dict[str, Any] = {
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_attention_heads,
            "max_position_embeddings": 128,
            "moe_dim": 4,
            "moe_heads": 2,
            "moe_experts": 8,
            "moe_topk": 3,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
        return MonetConfig(**sizes | self.fields)

    def prepare_config_and_inputs_for_common(self) -> tuple[MonetConfig, dict[str, torch.Tensor]]:
        ids = models.ids_tensor([self.batch_size, self.seq_length], self.vocab_size)
        return self.get_config(), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    prepare_config_and_inputs = prepare_config_and_inputs_for_common


class Common(models.ModelTesterMixin, training.TrainingTesterMixin):  # type: ignore[misc, name-defined]
    """What the classes below share: they differ in the shape of the model."""

    base_model_class = MonetModel
    all_model_classes = (MonetModel, MonetForCausalLM)
    all_generative_model_classes = ()  # the tests of generation are not in the source distribution
    test_can_init_all_missing_weights_before_2023 = True  # our files tell no year
    fields: dict[str, Any] = {}

    def setUp(self) -> None:
        self.model_tester = SmallModels(self.fields)
        self.config_tester = configurations.ConfigTester(self, config_class=MonetConfig, hidden_size=32)
        for beginning, reason in NOT_APPLICABLE.items():
            if self._testMethodName.startswith(beginning):
                super().skipTest(reason)

    def skipTest(self, reason: str) -> None:
        """Fail where a test says of itself that it does not apply and ``NOT_APPLICABLE`` does not say so."""
        raise AssertionError(f"skips itself, and is not listed in NOT_APPLICABLE: {reason}")

    def _prepare_for_class(self, inputs: Any, model_class: Any, return_labels: bool = False) -> Any:
        inputs = super()._prepare_for_class(inputs, model_class, return_labels)
        if return_labels and model_class is MonetForCausalLM:
            inputs["labels"] = torch.zeros_like(inputs["input_ids"])
        return inputs

    def test_config(self) -> None:
        self.config_tester.run_common_tests()


class TestVertical(Common, unittest.TestCase):
    fields = {"moe_decompose": "vertical", "moe_groups": 1}


if "MONET_PEERS" in os.environ:  # as `make peers` sets it: one class takes a minute

    class TestVerticalInGroups(Common, unittest.TestCase):
        fields = {"moe_decompose": "vertical", "moe_groups": 2, "num_key_value_heads": 2}

    class TestHorizontal(Common, unittest.TestCase):
        fields = {"moe_decompose": "horizontal", "moe_groups": 1, "tie_word_embeddings": True}

    class TestHorizontalInGroups(Common, unittest.TestCase):
        fields = {"moe_decompose": "horizontal", "moe_groups": 2}

    class TestMixed(Common, unittest.TestCase):
        fields = {"dense_layers": [1], "intermediate_size": 37, "hidden_act": "silu", "num_key_value_heads": 2}
