from .endpoint import (
    Endpoint as Endpoint,
)
from .endpoint import (
    EndpointExplainer as EndpointExplainer,
)
from .endpoint import (
    EndpointJudge as EndpointJudge,
)
from .evidence import (
    Evidence as Evidence,
)
from .evidence import (
    gather_evidence as gather_evidence,
)
from .explain import (
    Explanations as Explanations,
)
from .explain import (
    explain_experts as explain_experts,
)
from .explain import (
    most_informative_experts as most_informative_experts,
)
from .explain import (
    random_experts as random_experts,
)
from .explain import (
    sample_experts as sample_experts,
)
from .explain import (
    top_experts as top_experts,
)
from .explainer import (
    Explainer as Explainer,
)
from .explainer import (
    Person as Person,
)
from .explainer import (
    Template as Template,
)
from .judge import (
    EncoderJudge as EncoderJudge,
)
from .judge import (
    Judge as Judge,
)
from .logit_lens import logit_view as logit_view
from .passages import Passage as Passage
from .rules.explain import (
    explain_by_rules as explain_by_rules,
)
from .rules.explain import (
    readable_experts as readable_experts,
)
from .rules.summary import rule_summary as rule_summary
from .self_explanation import (
    SelfExplainer as SelfExplainer,
)
from .self_explanation import (
    self_explain as self_explain,
)
from .stored import (
    read_explanations as read_explanations,
)
from .stored import (
    search_explanations as search_explanations,
)
