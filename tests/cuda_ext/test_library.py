"""Loading the compiled libraries, and the ops without them."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest
import torch

from cuda_ext import backend, library, route, route_reference

ARGUMENTS = (torch.randn(3, 2, 20), torch.zeros(2), torch.ones(2), 1.0)


def test_fallback_route_gives_the_definition_and_warns_once(no_kernel: None) -> None:
    assert backend() == "pytorch"
    with pytest.warns(RuntimeWarning, match="not built, for this test"):
        actual = route(*ARGUMENTS)
    for a, b in zip(actual, route_reference(*ARGUMENTS), strict=True):
        assert torch.equal(a, b)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        route(*ARGUMENTS)


@pytest.mark.parametrize("origin", [None, "nowhere/_C.abi3.so"])
def test_load_explains_a_missing_or_broken_library(origin: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = None if origin is None else SimpleNamespace(origin=origin)
    monkeypatch.setattr(library, "find_spec", lambda name: spec)
    outcome = library.load("_C", library.CPU_OPS, "C++ compiler")
    assert not outcome.loaded
    assert ("was not built" if origin is None else "cannot load it") in outcome.problem


def test_large_outputs_keep_their_memory_while_anything_refers_to_it() -> None:
    """Memory of large outputs is used again once they are gone, not before."""
    z, mean, var = torch.randn(2000, 8, 512), torch.zeros(8), torch.ones(8)
    first = route(z, mean, var, 1.5)[1]
    kept, where = first.clone(), first.data_ptr()
    second = route(z.flip(0), mean, var, 1.5)[1]
    assert second.data_ptr() != where
    assert torch.equal(first, kept)
    view = first[3:].flatten()
    del first
    others = [route(z.flip(0), mean, var, 1.5)[1] for _ in range(3)]
    assert where not in {other.data_ptr() for other in others}
    assert torch.equal(view, kept[3:].flatten())
