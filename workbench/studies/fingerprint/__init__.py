"""Fingerprints of a model: secret keys that only its owner's copies answer, and the experts that carry them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
