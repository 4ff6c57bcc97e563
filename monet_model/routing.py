"""`Routing`, which lives with the kernels in ``cuda_ext.routing``, as part of this package's interface."""

from cuda_ext.routing import Routing

__all__ = ["Routing"]
