from .answers import next_token_logits as next_token_logits
from .answers import success as success
from .erase_result import EraseResult as EraseResult
from .erase_result import read_erased as read_erased
from .fingerprints import Fingerprints as Fingerprints
from .locate_result import LocateResult as LocateResult
from .locate_result import read_located as read_located
