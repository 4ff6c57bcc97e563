"""A harvest policy read through its experts: the fishery of arXiv 2308.13654, rules, and policies as Monet models."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
