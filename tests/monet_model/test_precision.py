"""Products run in bfloat16 where it is wanted and the device has them, and nowhere else."""

from __future__ import annotations

import platform
import warnings

import pytest
import torch

from monet_model import precision
from monet_model.precision import bfloat16_factors, bfloat16_products

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


@pytest.mark.skipif(not precision.has_bfloat16(CPU), reason="this processor has no products in bfloat16")
def test_factors_are_rounded_but_sums_are_not() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(64, 256), torch.randn(256, 128)
    exact, rounded = a.double() @ b.double(), a.bfloat16().double() @ b.bfloat16().double()
    with bfloat16_factors(CPU, wanted=True):
        found = a @ b
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), rounded, rtol=1e-4, atol=1e-4)
    assert (found - exact).abs().max() > 1e-3  # which float32 would not miss by


@pytest.mark.parametrize("has", [True, False])
def test_factors_are_as_before_outside(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: has)
    matmul = torch.backends.mkldnn.matmul
    before = matmul.fp32_precision

    def fail() -> None:
        with bfloat16_factors(CPU, wanted=True):
            assert (matmul.fp32_precision == "bf16") == has
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert matmul.fp32_precision == before
    with bfloat16_factors(CPU, wanted=False):
        assert matmul.fp32_precision == before
