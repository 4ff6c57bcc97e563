"""Searches of a run: experts that fire on a text, experts of a typed text, documents, explanations and labels.

Every name is loaded on first use: searching documents needs neither torch nor the model.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
