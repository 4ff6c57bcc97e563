"""Explanations of single experts: the logit lens, sentences about them, their scores, and the stored results.

Every name is loaded on first use: reading stored explanations needs neither torch nor the model.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
