"""The CUDA kernels, compiled by g++ for the lock-step emulation, and checks of them against the definitions."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import cuda_ext
from cuda_ext import Statistics
from cuda_ext.ops.accumulate import STATE
from cuda_ext.reference import mix, route
from cuda_ext.reference.accumulate import accumulate_reference
from cuda_ext.reference.contributions import contributions_reference

from .conftest import Lists, random_routing

CSRC = Path(cuda_ext.__file__).parent / "csrc"
SOURCE = Path(__file__).parent / "emulation" / "kernels.cpp"


class EmulationError(Exception):
    """A fault that the emulation detected: a deadlock, a divergent collective, a write past shared memory."""


class Emulated:
    """The functions of one kernel; ``descending`` is the order in which its threads take turns."""

    def __init__(self, kernel: str, folder: Path, csrc: Path = CSRC, flags: tuple[str, ...] = ()) -> None:
        library = folder / f"{kernel}.so"
        command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-Wno-unknown-pragmas", f"-I{csrc}", *flags]
        command += [f"-I{SOURCE.parent}", f"-DMONET_KERNEL={kernel.upper()}", str(SOURCE), "-o", str(library)]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr
        self.library = ctypes.CDLL(str(library))
        self.function = getattr(self.library, f"emulated_{kernel}")
        self.function.restype = ctypes.c_char_p
        self.library.emulated_collectives.restype = ctypes.c_uint64
        self.descending = False

    def __call__(self, *arguments: Tensor | float | None) -> None:
        converted: list[object] = [ctypes.c_int(self.descending)]
        for value in arguments:
            if isinstance(value, Tensor):
                assert value.is_contiguous()
                converted.append(ctypes.c_void_p(value.data_ptr()))
            elif isinstance(value, float):
                converted.append(ctypes.c_float(value))
            else:
                converted.append(None if value is None else ctypes.c_int64(value))
        wrong = self.function(*converted)
        if wrong:
            raise EmulationError(wrong.decode())

    @property
    def collectives(self) -> int:
        """How often all lanes of a warp, or threads of a block, met in the last launch."""
        return self.library.emulated_collectives()


def wide(routing: Lists) -> list[Tensor | int]:
    """A routing as the C functions take it."""
    out: list[Tensor | int] = []
    for indices, probs, counts in (routing.arrays[:3], routing.arrays[3:]):
        out += [indices.contiguous(), probs.contiguous(), counts, indices.shape[-1]]
    return out


def route_case(kernel: Emulated, z: Tensor, mean: Tensor, var: Tensor, sigma: float, width: int, skew: int = 0) -> None:
    """``skew`` logits in front make the array begin off a multiple of 16 bytes."""
    tokens, heads, keys = z.shape
    store = torch.empty(z.numel() + skew, dtype=z.dtype)
    logits = store[skew:].view(z.shape).copy_(z)
    shape = (tokens, heads, width)
    indices, probs = torch.full(shape, -7, dtype=torch.int16), torch.full(shape, -7.0)
    counts = torch.full((tokens, heads), -7, dtype=torch.int32)
    per = 16 // z.element_size()
    aligned = logits.data_ptr() % 16 == 0 and keys % per == 0
    scale = route.inverse_deviation(var)
    bf16 = z.dtype == torch.bfloat16
    kernel(aligned, bf16, logits, mean, scale, sigma, tokens * heads, heads, keys, width, indices, probs, counts)

    z = z.float()
    bad = ~(z <= torch.finfo(torch.float32).max).all(-1) | (z == float("-inf")).all(-1)
    assert (counts[bad] == -1).all()
    clean = z.masked_fill(bad[..., None], 0.0)
    want_indices, want_probs, want_counts = route.route_reference(clean, mean, var, sigma)
    assert torch.equal(counts[~bad], want_counts[~bad])
    fits = ~bad & (want_counts <= width)
    assert (indices[~fits] == -7).all()
    assert (probs[~fits] == -7).all()
    grow = (0, max(0, width - want_indices.shape[-1]))
    want_indices, want_probs = (torch.nn.functional.pad(t, grow)[..., :width] for t in (want_indices, want_probs))
    assert torch.equal(indices[fits], want_indices[fits])
    torch.testing.assert_close(probs[fits], want_probs[fits], rtol=2e-6, atol=1e-44)


def check_route(kernel: Emulated) -> None:
    generator = torch.Generator().manual_seed(0)
    for keys in (1, 31, 33, 100, 512, 514, 1000, 1500):
        mean, var = torch.randn(3, generator=generator), torch.rand(3, generator=generator) + 0.1
        z = torch.randn(3, 3, keys, generator=generator) * var.sqrt()[:, None] + mean[:, None]
        z[0] = (z[0] * 2).round() / 2  # ties
        z[1, 0, 0] = 50.0  # the rest of the row may lie far below
        z[1, 1, : keys - 1] = float("-inf")
        z[2, 1, keys // 2], z[2, 2, keys - 1] = float("nan"), float("inf")
        for sigma, width in ((1.2, keys), (-9.0, keys), (40.0, 5), (-9.0, 4)):
            route_case(kernel, z, mean, var, sigma, width)
        route_case(kernel, z, mean, var, 1.2, keys, skew=1)
        route_case(kernel, z.bfloat16(), mean, var, 1.2, keys)
    z = torch.full((2, 1, 512), 1.0)
    z[1] = float("-inf")
    route_case(kernel, z, torch.zeros(1), torch.ones(1), 3.0, 512)
    route_case(kernel, torch.zeros(0, 2, 512), torch.zeros(2), torch.ones(2), 1.0, 8)


def check_mix(kernel: Emulated) -> None:
    for seed, (tokens, heads, keys, units) in enumerate([(2, 3, 40, 8), (1, 9, 17, 3), (2, 1, 12, 2), (0, 2, 8, 4)]):
        generator = torch.Generator().manual_seed(seed)
        a1, a2 = torch.randn(2, tokens, keys, units, generator=generator)
        routing = random_routing(tokens, heads, keys, seed)
        for factors in (None, torch.randn(keys, keys, generator=generator)):
            for both in (True, False):
                out = [torch.full_like(a1, -7) for _ in range(4)] + [torch.full_like(a1[..., 0], -7) for _ in range(2)]
                straight1, cross1, cross2, straight2, rows, columns = out
                aligned = keys * units % 4 == 0
                sizes = (aligned, tokens, heads, keys, units, a1, a2 if both else None)
                kernel(*sizes, *wide(routing), factors, straight1, cross1, rows, cross2, straight2, columns)
                exact = [t.double() if t.is_floating_point() else t for t in routing.arrays]
                s = None if factors is None else factors.double()
                if both:
                    want = mix.mix_vertical_reference(a1.double(), a2.double(), *exact, s)
                    got: tuple[Tensor, ...] = (straight1, cross1, rows, cross2, straight2, columns)
                else:
                    want, got = mix.mix_horizontal_reference(a1.double(), *exact, s), (cross2, columns)
                for actual, expected in zip(got, want, strict=True):
                    torch.testing.assert_close(actual.double(), expected, rtol=2e-5, atol=2e-5)


def check_accumulate(kernel: Emulated) -> None:
    for seed, (tokens, heads, keys, per_document) in enumerate(
        [(40, 3, 12, 2), (33, 1, 7, 1), (9, 32, 5, 4), (25, 8, 33, 3)]
    ):
        routing = random_routing(tokens, heads, keys, seed, even=seed % 2 == 0)
        generator = torch.Generator().manual_seed(seed)
        label = torch.randint(-1, 3, (tokens,), generator=generator)
        rows = torch.randint(1, 4, (tokens,), generator=generator).cumsum(0)
        starts = rows[torch.arange(tokens) // 6 * 6]
        priorities = torch.randperm(tokens, generator=generator)
        unlisted = torch.arange(tokens) // 6 % 3 == 1  # documents whose tokens count and are in no list
        starts, priorities = starts.masked_fill(unlisted, -1), priorities.masked_fill(unlisted, -1)
        numbers = {"best": 4, "per_document": per_document, "bins": 6, "sampled": seed}
        got, want = (Statistics.empty(keys, heads, 3, **numbers) for _ in range(2))
        arrays = [[getattr(s, name) for name in STATE] for s in (got, want)]
        table = torch.zeros(keys, tokens * heads)
        sizes = (tokens, heads, keys, 3, 6, 4, per_document, seed, got.top)
        where = (label, rows, starts, priorities)
        kernel(*sizes, *wide(routing), *where, table, *arrays[0])
        accumulate_reference(*arrays[1], *routing.arrays, *where, keys, got.top, per_document)
        assert want.tokens.sum() > 0
        for name, actual, expected in zip(STATE, *arrays, strict=True):
            assert torch.equal(actual, expected), name


def check_contributions(kernel: Emulated) -> None:
    for seed, (tokens, heads, keys, units, own) in enumerate([(2, 3, 20, 5, 0), (2, 1, 40, 8, 1), (1, 5, 9, 1, 1)]):
        generator = torch.Generator().manual_seed(seed)
        rows = tokens if own else 1

        def normal(*shape: int, source: torch.Generator = generator) -> Tensor:
            return torch.randn(*shape, generator=source)

        a1, a2, factors = normal(tokens, keys, units), normal(tokens, keys, units), normal(keys, keys)
        d = [normal(rows, keys, units) for _ in range(4)]
        c = [normal(rows, keys) for _ in range(2)]
        routing = random_routing(tokens, heads, keys, seed)
        capacity = int((routing.counts1.long() * routing.counts2).sum(1).max())
        for both, s in ((True, None), (False, factors)):
            experts = torch.full((tokens, capacity), -1, dtype=torch.int32)
            values, totals = torch.zeros(tokens, capacity), torch.zeros(tokens, dtype=torch.float64)
            counts = torch.zeros(tokens, dtype=torch.int32)
            directions = (d[0], d[1], d[2], d[3], c[0], c[1]) if both else (None, None, d[2], None, None, c[1])
            sizes = (tokens, heads, keys, units, a1, a2 if both else None)
            kernel(*sizes, *wide(routing), s, *directions, own, capacity, experts, values, counts, totals)
            exact = [t.double() if t is not None and t.is_floating_point() else t for t in routing.arrays]
            high = [None if t is None else t.double() for t in (a1, a2 if both else None, s, *directions)]
            want = contributions_reference(high[0], high[1], *exact, high[2], *high[3:], capacity)  # type: ignore[arg-type]
            torch.testing.assert_close(totals, want[2], rtol=1e-5, atol=1e-5)
            assert torch.equal(counts.long(), (want[0] >= 0).sum(1))
            for t, n in enumerate(counts.tolist()):
                order, expected = experts[t, :n].argsort(), want[0][t, :n].argsort()
                assert torch.equal(experts[t, :n][order].long(), want[0][t, :n][expected])
                actual = values[t, :n][order].double()
                torch.testing.assert_close(actual, want[1][t, :n][expected], rtol=1e-5, atol=1e-5)


CHECKS: dict[str, Callable[[Emulated], None]] = {
    "route": check_route,
    "mix": check_mix,
    "accumulate": check_accumulate,
    "contributions": check_contributions,
}
