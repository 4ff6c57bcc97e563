"""A run's experts in the layouts that other tools read, each as that project publishes it.

Adding a layout takes a module here with a function that writes it, and a line in
``workbench.interop.layouts.LAYOUTS``; `monet convert --to` then offers it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
