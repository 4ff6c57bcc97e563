from .study import DENSE as DENSE
from .study import SETTINGS as SETTINGS
from .study import SHIPPED as SHIPPED
from .study import Distilled as Distilled
from .study import distil as distil
from .study import measure_distilled as measure_distilled
from .study import read_distilled as read_distilled

__all__ = ["DENSE", "SETTINGS", "SHIPPED", "Distilled", "distil", "measure_distilled", "read_distilled"]
