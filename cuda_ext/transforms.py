"""Whether PyTorch is transforming the functions it runs: the compiled kernels know nothing of that."""

from __future__ import annotations

import torch
from torch.autograd import forward_ad


def transformed() -> bool:
    """Return whether a transform of ``torch.func`` or a level of forward-mode differentiation is active.

    Then tensors carry tangents, or are a whole batch of tensors, which compiled kernels drop without a word. The ops
    take definitions in plain PyTorch instead, whose shapes do not depend on values.

    Examples:
        >>> import torch
        >>> from cuda_ext.transforms import transformed
        >>> transformed()
        False
        >>> torch.func.vmap(lambda x: x + transformed())(torch.zeros(2))
        tensor([1., 1.])
    """
    # PyTorch has no public way to ask for either. torch.func.jvp opens a level of forward-mode differentiation too; its
    # other transforms cannot pass through a custom op unnoticed, so compiled code, where the stack cannot be read, need
    # not ask for them.
    if forward_ad._current_level >= 0:
        return True
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None


def refuse_transforms(op: str) -> None:
    """Raise NotImplementedError if a transform is active, for an op that has no derivative.

    Raises:
        NotImplementedError: see above; the message says what to do.
    """
    if transformed():
        raise NotImplementedError(
            f"{op} is not differentiable, and would drop tangents and batches of torch.func and of forward-mode "
            "differentiation: call it outside of them."
        )
