"""Copying routing from a GPU: on a stream of its own, of values that are there, read when it is done."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from cuda_ext import Routing
from workbench.export.gather import fetch

from ...stand_in.gpu import Gpu, StandIn
from ...stand_in.streams import Streams, install


@pytest.fixture
def streams(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> Streams:
    """The streams of the stand-in."""
    return install(monkeypatch, gpu)


@pytest.fixture
def routing() -> Routing:
    """The routing of four tokens, one head, two keys of eight."""
    torch.manual_seed(0)
    probs = torch.rand(4, 1, 2)
    indices = torch.arange(8).view(4, 1, 2).short()
    counts = torch.full((4, 1), 2, dtype=torch.int32)
    return Routing(indices, probs, counts, indices.clone(), probs.clone(), counts.clone(), num_keys=8)


def _tensors(routing: Routing) -> list[Tensor]:
    return [getattr(routing, field.name) for field in fields(routing)[:-1]]


def test_a_copy_waits_for_what_it_copies_and_the_host_for_the_copy(
    gpu: Gpu, streams: Streams, routing: Routing
) -> None:
    """The GPU computes the routing last of all, and is given more to do before the copy is asked for."""
    there = routing.map(lambda tensor: StandIn(torch.full_like(tensor, -1)))
    for given, tensor in zip(_tensors(there), _tensors(routing), strict=True):
        streams.compute.enqueue(lambda given=given, tensor=tensor: given.values.copy_(tensor))
    before = len(streams.compute.work)
    with gpu.on():
        fetched = fetch(there)
        later: list[str] = []
        streams.compute.enqueue(lambda: later.append("the next batch"))
        kept = fetched()
    for found, tensor in zip(_tensors(kept), _tensors(routing), strict=True):
        assert found.device.type == "cpu"
        assert torch.equal(found, tensor)
    assert later == []  # the copy, and the host, waited for nothing behind it
    assert len(streams.compute.work) == before + 1  # and what the model computes next is behind no copy
    assert not gpu.waits


def test_memory_is_kept_until_it_is_copied(gpu: Gpu, streams: Streams, routing: Routing) -> None:
    there = routing.map(lambda tensor: StandIn(tensor.clone()))
    with gpu.on():
        fetch(there)
    for tensor in _tensors(there):
        assert isinstance(tensor, StandIn)
        (stream,) = tensor.used_by
        assert stream is not streams.compute


def test_on_a_processor_it_is_the_routing_itself(routing: Routing) -> None:
    for found, tensor in zip(_tensors(fetch(routing)()), _tensors(routing), strict=True):
        assert found is tensor
