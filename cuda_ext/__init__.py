"""Exact product-key routing and the ops built on it, on CPU and GPU, each next to its definition in PyTorch.

    indices, probs, counts = route(logits, mean, var, sigma)

``route`` reads the router logits once, where the paper's formulas take a dense batch normalisation, maximum, mask
and softmax (arXiv 2412.04139, section 3), and returns short lists of active keys. The other ops work on these lists:
``mix`` (the sums inside an expert layer), ``accumulate`` (statistics and top tokens of all experts) and
``contributions`` (direct attribution). No active key is dropped, and the compiled kernels return the same bits on
every instruction set and with any number of threads.

The compiled kernels run on the CPU and on NVIDIA GPUs, where they were built (``python -m cuda_ext`` shows which were,
and why others were not). Everywhere else the PyTorch definitions run, on the tensors' device. This package depends on
torch alone, on no other package of the project.
"""

from .library import backend
from .ops.accumulate import Statistics, accumulate
from .ops.contributions import contributions
from .ops.mix import mix
from .ops.route import route
from .reference.route import route_reference
from .routing import Routing

__all__ = ["Routing", "Statistics", "accumulate", "backend", "contributions", "mix", "route", "route_reference"]
