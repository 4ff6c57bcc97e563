"""The stand-in itself: it computes what the processor does, refuses what a GPU refuses, and notes what waits."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from .gpu import Gpu, HostTensorError, StandIn, moved


def test_it_has_the_device_and_the_values(gpu: Gpu) -> None:
    values = torch.arange(6.0).view(2, 3)
    with gpu.on():
        there = values.to("cuda")
        assert isinstance(there, StandIn)
        assert (there.device.type, there.shape, there.dtype) == ("cuda", (2, 3), torch.float32)
        assert torch.zeros(2, device="cuda").device == there[..., None].device == there.new_zeros(1).device
        assert torch.equal((there.T @ there).cpu(), values.T @ values)
        there[:, 1] += 1
        assert there.tolist() == [[0, 2, 2], [3, 5, 5]]
        assert there.double().numpy(force=True).dtype == "float64"
        with pytest.raises(TypeError, match="cpu"):
            there.numpy()


def test_tensors_of_both_memories_are_refused(gpu: Gpu) -> None:
    with gpu.on():
        there = torch.ones(3, device="cuda")
        for operation in (
            lambda: there + torch.ones(3),
            lambda: there[torch.tensor([0])],
            lambda: there.dot(torch.ones(3)),
        ):
            with pytest.raises(HostTensorError, match="mixes the memories"):
                operation()
        assert (there + torch.tensor(1.0)).tolist() == [2, 2, 2]  # a number


@pytest.mark.parametrize("what", ["number", "truth", "list", "copy", "back", "mask", "places", "unique"])
def test_what_waits_is_noted(gpu: Gpu, what: str) -> None:
    with gpu.on():
        there = torch.arange(4, device="cuda")
        here = torch.zeros(4)
        gpu.waits.clear()
        {
            "number": lambda: int(there.max()),
            "truth": lambda: bool((there > 0).all()),
            "list": there.tolist,
            "copy": lambda: here.to("cuda"),
            "back": lambda: here.copy_(there),
            "mask": lambda: there[there > 1],
            "places": (there > 1).nonzero,
            "unique": lambda: there.unique(return_inverse=True),
        }[what]()
        assert gpu.waits.total() == 1


def test_what_does_not_wait_is_not(gpu: Gpu) -> None:
    with gpu.on():
        there = torch.arange(4, device="cuda")
        gpu.waits.clear()
        torch.arange(4).to("cuda", non_blocking=True)
        there.sort()
        there[there.argsort()]
        there.masked_fill(there > 1, 0)
        torch.where(there > 1, there, 0)
        there.to("cpu", non_blocking=True)
        assert not gpu.waits


def test_gradients_are_the_processors(gpu: Gpu) -> None:
    torch.manual_seed(0)
    layer, x = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)), torch.randn(5, 3)
    here = x.clone().requires_grad_()
    middle = layer[0](here)
    expected = torch.autograd.grad((layer[2](layer[1](middle)) * 3).sum() + here[0].sum(), [middle, here])
    there = moved(layer)
    with gpu.on():
        point = x.to("cuda").requires_grad_()
        middle = there[0](point)
        found = torch.autograd.grad((there[2](there[1](middle)) * 3).sum() + point[0].sum(), [middle, point])
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one.cpu(), other)


def test_a_module_is_moved_copied_and_changes_its_dtype(gpu: Gpu) -> None:
    layer = nn.Linear(2, 2)
    layer.twin = layer.weight  # type: ignore[assignment]
    there = moved(layer)
    assert there.weight is there.twin
    with gpu.on():
        wide = copy.deepcopy(there).to(torch.float64)
        assert (wide.weight.dtype, there.weight.dtype) == (torch.float64, torch.float32)
        assert wide(torch.ones(1, 2, dtype=torch.float64, device="cuda")).dtype == torch.float64
