from .edits import PositionedEdit as PositionedEdit
from .expert_edit import ExpertEdit as ExpertEdit
from .lens import load_lens as load_lens
from .mixed import mixed_from_llama as mixed_from_llama
from .modeling import (
    MonetConfig as MonetConfig,
)
from .modeling import (
    MonetForCausalLM as MonetForCausalLM,
)
from .modeling import (
    MonetModel as MonetModel,
)
from .routing import Routing as Routing
from .surgery import export_edited_model as export_edited_model
