"""Bad input to `route`, with and without the kernel."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cuda_ext import route, route_reference

from ..conftest import needs_kernel

GOOD: dict[str, Any] = {"logits": torch.randn(3, 2, 20), "mean": torch.zeros(2), "var": torch.ones(2), "sigma": 1.0}


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"logits": [[[1.0]]]}, TypeError, "logits must be a torch.Tensor"),
        ({"logits": torch.zeros(3, 2, 20, dtype=torch.float64)}, TypeError, "logits must be float32"),
        ({"logits": torch.zeros(3, 2, 20, dtype=torch.int64)}, TypeError, "logits must be float32"),
        ({"logits": torch.zeros(3, 20)}, ValueError, "logits must have shape"),
        ({"logits": torch.zeros(3, 2, 0)}, ValueError, "logits must have 1 to 32767 keys"),
        ({"logits": torch.zeros(1, 2, 32768)}, ValueError, "logits must have 1 to 32767 keys"),
        ({"mean": 0.0}, TypeError, "mean must be a torch.Tensor"),
        ({"mean": torch.zeros(3)}, ValueError, "mean must have shape"),
        ({"mean": torch.zeros(2, dtype=torch.int64)}, TypeError, "mean must have a floating dtype"),
        ({"mean": torch.tensor([0.0, float("nan")])}, ValueError, "mean holds NaN"),
        ({"mean": torch.zeros(2, device="meta")}, ValueError, "mean is on meta, expected cpu"),
        ({"var": torch.ones(2, device="meta")}, ValueError, "var is on meta, expected cpu"),
        ({"var": torch.ones(2, 1)}, ValueError, "var must have shape"),
        ({"var": torch.tensor([1.0, -1e-9])}, ValueError, "var holds a negative value"),
        ({"var": torch.tensor([1.0, float("inf")])}, ValueError, "var holds"),
        ({"sigma": float("nan")}, ValueError, "sigma must be finite"),
        ({"sigma": float("-inf")}, ValueError, "sigma must be finite"),
    ],
)
def test_route_names_wrong_arguments(
    change: dict[str, object], error: type[Exception], named: str, either: None
) -> None:
    with pytest.raises(error, match=named):
        route(**(GOOD | change))


@pytest.mark.filterwarnings("ignore:cuda_ext computes with PyTorch:RuntimeWarning")
@pytest.mark.parametrize("value", [float("nan"), -float("nan"), float("inf")])
@pytest.mark.parametrize("key", [0, 15, 16, 19])
def test_route_refuses_logits_that_are_not_finite(value: float, key: int, either: None) -> None:
    logits = GOOD["logits"].clone()
    logits[2, 0, key] = value
    logits[1, 1, key] = value
    with pytest.raises(ValueError, match="logits: 2 rows .* hold NaN or"):
        route(**(GOOD | {"logits": logits}))


@pytest.mark.filterwarnings("ignore:cuda_ext computes with PyTorch:RuntimeWarning")
def test_route_refuses_a_row_of_minus_infinity(either: None) -> None:
    logits = GOOD["logits"].clone()
    logits[0, 1] = float("-inf")
    with pytest.raises(ValueError, match="logits: 1 rows"):
        route(**(GOOD | {"logits": logits}))


def test_route_reference_takes_zero_tokens() -> None:
    indices, probs, counts = route_reference(torch.zeros(0, 2, 20), torch.zeros(2), torch.ones(2), 1.0)
    assert indices.shape == probs.shape == (0, 2, 0)
    assert counts.shape == (0, 2)


@needs_kernel
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({0: torch.zeros(3, 2, 20, dtype=torch.float64)}, "logits must be contiguous"),
        ({0: torch.zeros(2, 3, 20).transpose(0, 1)}, "logits must be contiguous"),
        ({0: torch.zeros(3, 2, 0)}, "logits must have 1 to 32767 keys"),
        ({0: torch.full((3, 2, 20), float("nan"))}, "logits must not hold NaN"),
        ({1: torch.zeros(3)}, "mean must be contiguous"),
        ({1: torch.full((2,), float("nan"))}, "mean must be finite"),
        ({2: torch.zeros(3)}, "var must be contiguous"),
        ({2: torch.full((2,), -1.0)}, "var must be finite and not negative"),
        ({3: float("inf")}, "sigma must be finite"),
        ({4: 99}, "does not have the requested instruction set"),
    ],
)
def test_route_kernel_guards_its_memory(change: dict[int, object], named: str) -> None:
    """Calling the op without `route` gives an error, not an out-of-bounds read."""
    arguments = [GOOD["logits"], torch.zeros(2), torch.ones(2), 1.0, -1]
    for at, value in change.items():
        arguments[at] = value
    with pytest.raises(RuntimeError, match=named):
        torch.ops.monet.route_kernel(*arguments)
