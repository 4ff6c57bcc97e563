"""Reports: what the workbench knows about an expert, label, text, edit, circuit or two runs, as one file to share."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
