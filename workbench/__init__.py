"""The Monet workbench: corpora, exported runs, analyses, reports and the dashboard."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
