"""What people keep about the experts of a run: notes, tags, lists with bookmarks first, and saved edits."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
