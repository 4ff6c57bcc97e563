"""A GPU that is not there: tensors that say they are on one, have values, and tell where a program waits for it.

``StandIn`` holds its values on the processor. ``Gpu`` computes with them there, by the rules of a GPU: an operation on
what lies in both memories is refused, and each function of the project that waits for the GPU is noted. Ops that the
project defines run as they do on a GPU, with ``kernels`` in place of the compiled ones.

What it does not show: races between streams, but for copies to the host (``streams``), numbers that a GPU rounds
otherwise, and waits inside the CUDA libraries. `make gpu-check` runs on a GPU that is there.
"""

from __future__ import annotations

import copy
import ctypes
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._library.custom_ops import OPDEFS
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from . import gradients

ROOT = Path(__file__).parents[2]
PACKAGES = ("cuda_ext", "monet_model", "workbench")
DEVICE = torch.device("cuda:0")
HOST = torch.device("cpu")

aten = torch.ops.aten
ASKING = {  # ops whose outcome, or its shape, a GPU is waited for
    aten._local_scalar_dense.default,
    aten._unique2.default,
    aten.bincount.default,
    aten.equal.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten.segment_reduce.default,
    aten.unique_consecutive.default,
    aten.unique_dim.default,
}
INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")

Module = TypeVar("Module", bound=nn.Module)


class HostTensorError(RuntimeError):
    """A tensor of the processor's memory in an operation of the GPU."""


class StandIn(Tensor):
    """A tensor that says it is on a GPU; ``values`` are on the processor."""

    values: Tensor
    used_by: tuple[object, ...] = ()  # streams that its memory is kept for

    @staticmethod
    def __new__(cls, values: Tensor) -> StandIn:
        layout = {"strides": values.stride(), "storage_offset": values.storage_offset(), "dtype": values.dtype}
        with torch.inference_mode(False):
            tensor = Tensor._make_wrapper_subclass(cls, values.size(), **layout, device=DEVICE)
        tensor.values = values
        return tensor

    @property
    def data(self) -> Tensor:  # type: ignore[override]  # an attribute of Tensor
        """What it says it is, and its values: modules assign it where they change their weights' dtype."""
        return self.detach()

    @data.setter
    def data(self, other: StandIn) -> None:
        Tensor.data.__set__(self, other)  # type: ignore[attr-defined]
        self.values = other.values

    def record_stream(self, stream: object) -> None:  # type: ignore[override]  # in torch, a stream of its own
        """Keep its memory for a stream."""
        self.used_by = (*self.used_by, stream)

    def tolist(self) -> Any:
        """Its values, fetched together."""
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Its values, fetched if that is asked for."""
        if not force:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        return self.detach().cpu().numpy()

    def __repr__(self, **_options: Any) -> str:
        return f"StandIn({self.values})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} of a stand-in outside of `Gpu.on`, or in a thread that has not entered it.")


class Gpu(TorchDispatchMode):
    """Inside this context, ``device="cuda"`` makes stand-ins.

    Attributes:
        waits: how often each function of the project waited for the GPU, and for what: ``file:function op``.
        copying: what is called with a copy to the host that is not waited for; by default it is made at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.copying: Callable[[Callable[[], object]], object] | None = None

    @contextmanager
    def on(self) -> Iterator[Gpu]:
        """Enter this context, with nothing counted yet."""
        self.waits.clear()
        # In a torch without CUDA, factories ask for a driver unless tensors are fake.
        with FakeTensorMode(), self, patch.object(torch.autograd, "grad", gradients.grad):
            yield self

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func._schema.name in OPDEFS:  # an op of the project's: what it does
            with self:
                return OPDEFS[func._schema.name]._init_fn(*args, **kwargs)
        with self:  # an op that others make up
            if (out := func.decompose(*args, **kwargs)) is not NotImplemented:
                return out
        leaves = tree_leaves((args, kwargs))
        there = [leaf for leaf in leaves if isinstance(leaf, StandIn)]
        asked = next((leaf.type for leaf in leaves if isinstance(leaf, torch.device)), None)
        at_once = not kwargs.pop("non_blocking", False)
        made_there = bool(there) if asked is None else asked == DEVICE.type
        if func in (aten._to_copy.default, aten.copy_.default):
            source, from_there = args[-1 if func is aten.copy_.default else 0], bool(there)
            if func is aten.copy_.default:
                at_once &= not (len(args) > 2 and args[2])
                source = args[1]
                made_there, from_there = (isinstance(one, StandIn) for one in args[:2])
            if made_there != from_there and at_once and source.numel():
                self._count("to the GPU" if made_there else "to the host")
            if func is aten.copy_.default and from_there and not (made_there or at_once) and self.copying:
                self.copying(partial(self._compute, func, args, kwargs, there, made_there))
                return args[0]
        elif there:
            # Numbers that are tensors without dimensions travel with an operation, as in torch.
            if any(isinstance(leaf, Tensor) and not isinstance(leaf, StandIn) and leaf.ndim for leaf in leaves):
                raise HostTensorError(f"{func._schema.name} in {_caller()} mixes the memories of GPU and host.")
            if self._asks(func, args, kwargs):
                self._count(func._schema.name.removeprefix("aten::").strip("_"))
        return self._compute(func, args, kwargs, there, made_there)

    @staticmethod
    def _compute(func: Any, args: Any, kwargs: Any, there: list[StandIn], made_there: bool) -> Any:
        def value(leaf: Any) -> Any:
            return leaf.values if isinstance(leaf, StandIn) else HOST if isinstance(leaf, torch.device) else leaf

        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        with unset_fake_temporarily(), torch.inference_mode(False), torch.no_grad():
            out = func(*tree_map(value, args), **tree_map(value, kwargs))
        known = {id(one.values): one for one in there}  # what was changed in place

        def placed(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            if id(leaf) in known:
                return known[id(leaf)]
            return StandIn(leaf) if made_there else leaf

        return tree_map(placed, out)

    @staticmethod
    def _asks(func: Any, args: Any, kwargs: Any) -> bool:
        if func._schema.name in INDEXING:
            return any(isinstance(one, Tensor) and one.dtype in (torch.bool, torch.uint8) for one in args[1])
        if func is aten.repeat_interleave.Tensor:
            return kwargs.get("output_size") is None
        return func in ASKING

    def _count(self, what: str) -> None:
        self.waits[f"{_caller()} {what}"] += 1


def _caller() -> str:
    """File and function of the project that is nearest to what is being computed."""
    frame = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in PACKAGES:
            return f"{path.relative_to(ROOT)}:{frame.f_code.co_name}"
        frame = frame.f_back
    return "tests"


@cache
def ensure_guard() -> None:
    """Give this process a guard of CUDA devices, if its torch has none."""
    if torch.backends.cuda.is_built():
        return
    import tempfile

    inside = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "guard.so"
        source = Path(__file__).with_name("guard.cpp")
        command = ["g++", "-std=c++20", "-shared", "-fPIC", f"-I{inside / 'include'}", str(source), "-o", str(library)]
        built = subprocess.run([*command, f"-L{inside / 'lib'}", "-lc10"], capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr
        ctypes.CDLL(str(library))


def moved(module: Module) -> Module:
    """A copy of a module on the stand-in; weights that are tied stay tied."""
    made: dict[Tensor, Tensor] = {}

    def one(tensor: Tensor) -> Tensor:
        if tensor not in made:
            there: Tensor = StandIn(tensor.detach().clone())
            made[tensor] = nn.Parameter(there, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else there
        return made[tensor]

    with FakeTensorMode(), Gpu():
        twin = copy.deepcopy(module)
        for part in twin.modules():
            for tensors in (part._parameters, part._buffers):
                for name, tensor in tensors.items():
                    tensors[name] = None if tensor is None else one(tensor)
    return twin
