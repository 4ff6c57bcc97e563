from .documents import (
    Matches as Matches,
)
from .documents import (
    documents_matching as documents_matching,
)
from .documents import (
    read_pattern as read_pattern,
)
from .documents import (
    strongest_experts as strongest_experts,
)
from .examples import example_queries as example_queries
from .explanations import (
    explanations_matching as explanations_matching,
)
from .explanations import (
    labels_matching as labels_matching,
)
from .firing import (
    experts_at as experts_at,
)
from .firing import (
    experts_firing_on as experts_firing_on,
)
from .found import experts_found as experts_found
from .spelling import occurrences as occurrences
from .text import (
    TextExperts as TextExperts,
)
from .text import (
    experts_of_text as experts_of_text,
)
