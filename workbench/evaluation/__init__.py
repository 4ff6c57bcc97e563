"""Evaluation tasks: accuracies by the LM Evaluation Harness, what ablating a label's experts does to them, and pass@k.

Every name is loaded on first use: the harness is an optional extra, and takes seconds to import.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
