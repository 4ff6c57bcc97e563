"""The router's kernel: which keys pass the threshold, and their probabilities, straight from the logits.

    indices, probs, counts = route(logits, mean, var, sigma)

One pass over the logits replaces the dense batch normalisation, maximum, masking and softmax of the definition
(arXiv 2412.04139, section 3) and gives the short lists that everything after the router works on; nothing of the
logits' size is written. Results are exact: nothing is cut, and the compiled kernel gives the same bits on every
instruction set and number of threads.

On the CPU a compiled kernel does the work where one was built (:func:`backend` tells; ``python -m cuda_ext`` tells why
not). There is no CUDA kernel: tensors on other devices go through the plain PyTorch definition,
:func:`route_reference`, on their device. This package knows torch and nothing else of the project.
"""

from .accumulation import Statistics, accumulate
from .contribution import contributions
from .library import backend
from .mixing import mix
from .reference import route_reference
from .routing import route

__all__ = ["Statistics", "accumulate", "backend", "contributions", "mix", "route", "route_reference"]
