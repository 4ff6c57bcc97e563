from .answers import next_token_logits as next_token_logits
from .answers import success as success
from .fingerprints import Fingerprints as Fingerprints
