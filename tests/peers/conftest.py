"""The marks of transformers' tests, which its own configuration declares."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(1)  # the models are small

MARKS = (
    *(
        "accelerate_tests",
        "all_flash_attn_test",
        "flash_attn_test",
        "flash_attn_3_test",
        "flash_attn_4_test",
        "generate",
    ),
    *("is_training_test", "slow", "torch_compile_test", "torch_export_test"),
)


def pytest_configure(config: pytest.Config) -> None:
    for mark in MARKS:
        config.addinivalue_line("markers", f"{mark}: of transformers")
