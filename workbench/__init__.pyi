from .store import (
    Run as Run,
)
from .store import (
    open_run as open_run,
)
