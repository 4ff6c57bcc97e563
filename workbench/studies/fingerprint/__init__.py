"""Whose model is it: fingerprints after OML 1.0 (arXiv 2411.03887, 2502.07760), embedded, verified and worn down."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
