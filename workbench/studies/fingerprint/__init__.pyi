from .erase_result import EraseResult as EraseResult
from .erase_result import read_erased as read_erased
from .locate_result import LocateResult as LocateResult
from .locate_result import read_located as read_located
