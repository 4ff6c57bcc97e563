"""Transcoding: the MLPs of a dense model, distilled into product-key experts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
