from .delphi import (
    write_delphi as write_delphi,
)
from .layouts import (
    LAYOUTS as LAYOUTS,
)
from .layouts import (
    Layout as Layout,
)
from .neuronpedia import (
    write_neuronpedia as write_neuronpedia,
)
