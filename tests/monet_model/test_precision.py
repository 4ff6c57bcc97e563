"""Products run in bfloat16 where it is wanted and the device has them, and nowhere else."""

from __future__ import annotations

import platform
import warnings

import pytest
import torch

from monet_model import precision
from monet_model.precision import bfloat16_products

CPU = torch.device("cpu")


def product_type(wanted: bool) -> torch.dtype:
    with bfloat16_products(CPU, wanted):
        return (torch.eye(2) @ torch.eye(2)).dtype


@pytest.mark.parametrize(("wanted", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_products_run_in_bfloat16_if_wanted(monkeypatch: pytest.MonkeyPatch, wanted: bool, dtype: torch.dtype) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    assert product_type(wanted) == dtype


def test_products_that_would_be_emulated_stay_in_float32_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    with pytest.warns(UserWarning, match="cpu has no bfloat16 products"):
        assert product_type(True) == torch.float32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert product_type(False) == torch.float32


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names instruction sets of x86-64")
def test_a_processor_has_them_from_avx512_on() -> None:
    assert precision.has_bfloat16(CPU) == torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    assert precision.has_bfloat16(torch.device("cuda"))
