"""Monet, a language model of monosemantic experts: configuration, model, TransformerLens adapter, demo checkpoint.

Every name is loaded on first use: importing transformers takes seconds.
"""

import lazy_loader

from .discovery import install as _install

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

_install()
