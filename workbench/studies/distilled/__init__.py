"""Does exclusivity survive distillation: the MLPs of a dense model as experts, beside its neurons, on one curve."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
