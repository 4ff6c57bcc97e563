from .checkpoint import (
    load_model as load_model,
)
from .export import (
    export_run as export_run,
)
from .store import (
    Run as Run,
)
from .store import (
    migrate_run as migrate_run,
)
from .store import (
    open_run as open_run,
)
from .store import (
    verify_run as verify_run,
)
