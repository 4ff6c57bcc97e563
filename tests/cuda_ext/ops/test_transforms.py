"""The ops under torch.func, forward-mode differentiation and second derivatives, and on tensors without values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from cuda_ext import Routing, contributions, mix, route, route_reference
from cuda_ext.ops.route import _route
from cuda_ext.reference.dense import route_dense

from ..conftest import random_routing

VERTICAL = pytest.mark.parametrize("vertical", [False, True])
EDITED = pytest.mark.parametrize("edited", [False, True])


def mixed(vertical: bool, edited: bool) -> tuple[Any, list[Tensor]]:
    """``mix`` as a function of its float tensors, and values for them, in float64."""
    lists = random_routing(3, 2, 5, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    hidden = [torch.randn(3, 5, 2, generator=generator, dtype=torch.float64) for _ in range(1 + vertical)]
    values = [*hidden, lists.probs1, lists.probs2]
    if edited:
        values.append(torch.randn(5, 5, generator=generator, dtype=torch.float64))

    def run(*inputs: Tensor) -> Any:
        hidden, (p, q) = inputs[: 1 + vertical], inputs[1 + vertical : 3 + vertical]
        routing = Routing(lists.indices1, p, lists.counts1, lists.indices2, q, lists.counts2, 5)
        return mix(hidden[0] if len(hidden) == 1 else hidden, routing, inputs[-1] if edited else None)  # type: ignore[arg-type]

    return run, values


@VERTICAL
@EDITED
def test_mix_has_forward_and_second_derivatives(vertical: bool, edited: bool) -> None:
    run, values = mixed(vertical, edited)
    values = [value.requires_grad_() for value in values]
    assert torch.autograd.gradcheck(run, values, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(run, values)


@VERTICAL
@EDITED
def test_mix_under_transforms_equals_mix(vertical: bool, edited: bool) -> None:
    run, values = mixed(vertical, edited)
    for transformed, plain in zip(torch.func.jvp(run, tuple(values), tuple(values))[0], run(*values), strict=True):
        torch.testing.assert_close(transformed, plain)
    halved = [torch.stack([value, value / 2]) for value in values]
    for many, *few in zip(torch.vmap(run)(*halved), run(*values), run(*(v / 2 for v in values)), strict=True):
        torch.testing.assert_close(many, torch.stack(few))


def test_mix_in_float16_keeps_its_dtype_under_transforms() -> None:
    lists = random_routing(3, 2, 5)
    hidden = torch.randn(3, 5, 2, dtype=torch.float16)
    made = torch.func.jvp(lambda a: mix(a, lists), (hidden,), (hidden,))
    assert all(value.dtype == torch.float16 for pair in made for value in pair)


def test_route_tangents_equal_gradients() -> None:
    logits, tangent = torch.randn(2, 7, 2, 40)
    mean, var = torch.randn(2) * 0.1, torch.rand(2) + 0.5

    def dense(z: Tensor) -> Tensor:
        indices, probs, _ = route(z, mean, var, 1.2)
        return probs.new_zeros(7, 2, 40).scatter_add(-1, indices.long(), probs)

    jacobian = torch.autograd.functional.jacobian(dense, logits)
    wanted = torch.einsum("abcdef,def->abc", jacobian, tangent)
    torch.testing.assert_close(torch.func.jvp(dense, (logits,), (tangent,)), (dense(logits), wanted))
    torch.testing.assert_close(torch.func.jacrev(dense)(logits), jacobian)
    with torch.no_grad(), forward_ad.dual_level():
        found = forward_ad.unpack_dual(dense(forward_ad.make_dual(logits, tangent))).tangent
    torch.testing.assert_close(found, wanted)


def test_route_has_second_derivatives() -> None:
    """Of the op itself, in float64; and they are those of the definition."""
    logits = torch.randn(3, 2, 9, dtype=torch.float64, requires_grad=True)
    mean, var = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    assert torch.autograd.gradgradcheck(lambda z: _route(z, mean, var, 1.0)[1], logits)


@pytest.mark.parametrize("keys", [1, 5, 60])
def test_route_dense_equals_the_definition(keys: int) -> None:
    """The same lists, in order, with wider padding."""
    logits = torch.randn(11, 2, keys, generator=torch.Generator().manual_seed(keys))
    inputs = logits, torch.randn(2) * 0.1, torch.rand(2) + 0.5, 0.9
    indices, probs, counts = route_dense(*inputs)
    wanted = route_reference(*inputs)
    width = wanted[0].shape[-1]
    assert torch.equal(counts, wanted[2])
    assert torch.equal(indices[..., :width], wanted[0])
    torch.testing.assert_close(probs[..., :width], wanted[1])
    assert not indices[..., width:].any()
    assert not probs[..., width:].any()
    assert indices.dtype == wanted[0].dtype
    assert counts.dtype == wanted[2].dtype


def test_route_vectorises_where_every_row_has_another_count() -> None:
    logits = torch.randn(4, 7, 2, 40)
    inputs = torch.zeros(2), torch.ones(2), 1.2
    many = torch.vmap(lambda z: route(z, *inputs))(logits)
    for at, one in enumerate(logits):
        wanted = route(one, *inputs)
        width = wanted[0].shape[-1]
        assert torch.equal(many[2][at], wanted[2])
        assert torch.equal(many[0][at][..., :width], wanted[0])
        torch.testing.assert_close(many[1][at][..., :width], wanted[1])


def test_contributions_refuses_transforms() -> None:
    lists = random_routing(3, 2, 5)
    hidden, directions = torch.randn(3, 5, 2), (torch.ones(1, 5, 2), torch.zeros(1, 5))
    for run in (
        lambda: torch.func.jvp(lambda a: contributions(a, lists, directions, 3)[1], (hidden,), (hidden,)),
        lambda: torch.vmap(lambda scale: contributions(hidden * scale, lists, directions, 3)[1])(torch.ones(2)),
    ):
        with pytest.raises(NotImplementedError, match="contributions is not differentiable.*outside"):
            run()
    assert contributions(hidden, lists, directions, 3)[1].shape == (3, 3)


def test_compiled_code_refuses_reverse_transforms_and_keeps_tangents() -> None:
    """What `torch.compile` cannot do it says, and what it does is right."""
    run, values = mixed(True, False)

    def total(*values: Tensor) -> Tensor:
        return sum(value.sum() for value in run(*values))  # type: ignore[return-value]

    wanted = torch.func.jvp(total, tuple(values), tuple(values))[1]
    found = torch.compile(lambda *v: torch.func.jvp(total, v, v)[1], backend="aot_eager")(*values)
    torch.testing.assert_close(found, wanted)
    with pytest.raises(Exception, match="functorch|setup_context|GradTracking"):
        torch.compile(torch.func.grad(total), backend="aot_eager")(*values)


def test_ops_give_shapes_on_meta_and_fake_tensors() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    def run(device: str) -> None:
        logits = torch.zeros(7, 2, 40, device=device)
        sides = route(logits, torch.zeros(2, device=device), torch.ones(2, device=device), 1.0)
        assert sides[1].shape[:2] == (7, 2)
        made = mix(torch.zeros(7, 40, 3, device=device), Routing(*sides, *sides, num_keys=40))
        assert [tuple(value.shape) for value in made] == [(7, 40, 3), (7, 40)]

    run("meta")
    with FakeTensorMode():
        run("cpu")
        with torch.no_grad():
            run("cpu")
