"""What every Python process of an environment does for this package when it starts: it puts up one import hook.

setup.py writes this source into a `.pth` file beside the installed packages, which Python reads when it starts. So a
program that never imports ``monet_model`` can load a Monet checkpoint through transformers or TransformerLens. Nothing
is imported here but ``sys``; and where the package is no longer where it was, as when the folder of an editable
installation has moved, the hook does nothing at all.
"""

import sys


class MonetDiscovery:
    """Import hook that hands the import of a table of model types to ``monet_model.discovery``."""

    # As in TABLES of monet_model.discovery.
    tables = (
        "transformers.models.auto.configuration_auto",
        "transformers.models.auto.modeling_auto",
        "transformer_lens.factories.architecture_adapter_factory",
        "peft.utils.constants",
    )

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):  # type: ignore[no-untyped-def]
        """Return the spec of a table whose loader registers Monet; None for every other module."""
        if fullname not in cls.tables:
            return None
        try:
            from monet_model.discovery import find_table
        except Exception:  # whatever is wrong with this package must not break another's import
            return None
        return find_table(fullname, path, target)


sys.meta_path.insert(0, MonetDiscovery)
