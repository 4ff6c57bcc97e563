"""Routing by product keys and what is computed from it: exact ops on CPU and GPU, each with its definition beside it.

    indices, probs, counts = route(logits, mean, var, sigma)

:func:`route` reads the logits once in place of the dense batch normalisation, maximum, masking and softmax (arXiv
2412.04139, section 3) and gives the short lists that the other ops work on: :func:`mix` (an expert layer's sums),
:func:`accumulate` (statistics and best tokens of all experts) and :func:`contributions` (attribution). Nothing is cut,
and the compiled kernels give the same bits on every instruction set and number of threads.

Compiled kernels do the work where they were built, on the CPU and on NVIDIA GPUs (``python -m cuda_ext`` tells which,
and why not); elsewhere the definitions in plain PyTorch run on the tensors' device. This package knows torch and
nothing else of the project.
"""

from .library import backend
from .ops.accumulate import Statistics, accumulate
from .ops.contributions import contributions
from .ops.mix import mix
from .ops.route import route
from .reference.route import route_reference
from .routing import Routing

__all__ = ["Routing", "Statistics", "accumulate", "backend", "contributions", "mix", "route", "route_reference"]
