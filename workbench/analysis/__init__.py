"""Analyses of a run and of its model: what experts know, what removing them does, which of them made a logit.

Every name is loaded on first use: reading stored results needs neither torch nor the model.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
