from .attribution.corpus import (
    CorpusAttribution as CorpusAttribution,
)
from .attribution.corpus import (
    attribute_corpus as attribute_corpus,
)
from .attribution.corpus_result import (
    TokenWriters as TokenWriters,
)
from .attribution.corpus_result import (
    read_writers as read_writers,
)
from .attribution.direct import (
    Attribution as Attribution,
)
from .attribution.direct import (
    attribute as attribute,
)
from .attribution.gradient import (
    Faithfulness as Faithfulness,
)
from .attribution.gradient import (
    ablate as ablate,
)
from .attribution.gradient import (
    attribute_gradient as attribute_gradient,
)
from .attribution.gradient import (
    compare_with_ablation as compare_with_ablation,
)
from .attribution.neurons import (
    attribute_neurons as attribute_neurons,
)
from .attribution.prompt import (
    Prompt as Prompt,
)
from .attribution.prompt import (
    PromptReading as PromptReading,
)
from .attribution.prompt import (
    read_prompt as read_prompt,
)
from .circuits.circuit_result import (
    Circuit as Circuit,
)
from .circuits.heads import (
    open_edge as open_edge,
)
from .circuits.intervene import (
    Reaction as Reaction,
)
from .circuits.intervene import (
    intervene as intervene,
)
from .circuits.intervene import (
    react as react,
)
from .circuits.neurons import (
    open_mlp as open_mlp,
)
from .circuits.supernodes import (
    Supernodes as Supernodes,
)
from .circuits.supernodes import (
    group_by as group_by,
)
from .circuits.supernodes import (
    supernodes as supernodes,
)
from .circuits.trace import (
    circuit_memory as circuit_memory,
)
from .circuits.trace import (
    trace_circuit as trace_circuit,
)
from .correlation.correlate import (
    correlate_scores as correlate_scores,
)
from .correlation.correlate_result import (
    ScoreSummary as ScoreSummary,
)
from .correlation.correlate_result import (
    read_score_summary as read_score_summary,
)
from .correlation.correlate_result import (
    read_scores as read_scores,
)
from .correlation.purge import (
    purge_edit as purge_edit,
)
from .correlation.purge import (
    purge_scores as purge_scores,
)
from .correlation.purge_result import (
    Purge as Purge,
)
from .correlation.purge_result import (
    read_purge as read_purge,
)
from .diff.diff import (
    diff_models as diff_models,
)
from .diff.diff_result import (
    DiffResult as DiffResult,
)
from .diff.diff_result import (
    read_diff as read_diff,
)
from .divergence.divergence import (
    compare_runs as compare_runs,
)
from .divergence.divergence import (
    token_divergence as token_divergence,
)
from .divergence.divergence_result import (
    Divergence as Divergence,
)
from .divergence.divergence_result import (
    read_divergence as read_divergence,
)
from .encoder import (
    Encoder as Encoder,
)
from .encoder import (
    load_encoder as load_encoder,
)
from .generation import (
    Generation as Generation,
)
from .generation import (
    generate_text as generate_text,
)
from .removal.ablation_cost import ablation_cost as ablation_cost
from .removal.bootstrap import (
    CurveIntervals as CurveIntervals,
)
from .removal.bootstrap import (
    MaskIntervals as MaskIntervals,
)
from .removal.bootstrap import (
    bootstrap_curve as bootstrap_curve,
)
from .removal.bootstrap import (
    bootstrap_mask as bootstrap_mask,
)
from .removal.curve import removal_curve as removal_curve
from .removal.curve_result import (
    RemovalCurve as RemovalCurve,
)
from .removal.curve_result import (
    read_curve as read_curve,
)
from .removal.edit import (
    EditEffect as EditEffect,
)
from .removal.edit import (
    label_edit as label_edit,
)
from .removal.edit import (
    measure_edit as measure_edit,
)
from .removal.mask import mask_labels as mask_labels
from .removal.mask_result import (
    MaskResult as MaskResult,
)
from .removal.mask_result import (
    read_mask as read_mask,
)
from .specialisation.analyze import analyze_run as analyze_run
from .specialisation.analyze_result import (
    Summary as Summary,
)
from .specialisation.analyze_result import (
    read_analysis as read_analysis,
)
from .specialisation.analyze_result import (
    read_analysis_summary as read_analysis_summary,
)
from .specialisation.interest import (
    READABLE_SCORE as READABLE_SCORE,
)
from .specialisation.interest import (
    READABLE_TOKENS as READABLE_TOKENS,
)
from .specialisation.interest import (
    interest as interest,
)
from .specialisation.overlap import (
    Overlap as Overlap,
)
from .specialisation.overlap import (
    label_overlap as label_overlap,
)
from .specialisation.replication import replication as replication
from .specialisation.replication_result import (
    Replication as Replication,
)
from .specialisation.scores import (
    SCORES as SCORES,
)
from .structure.coactivation import coactive as coactive
from .structure.committee import standing_committee as standing_committee
from .structure.expert_pair import (
    PairOverlap as PairOverlap,
)
from .structure.expert_pair import (
    pair_overlap as pair_overlap,
)
from .structure.output_similarity import (
    OutputDirections as OutputDirections,
)
from .structure.output_similarity import (
    output_directions as output_directions,
)
from .structure.structure import (
    analyze_structure as analyze_structure,
)
from .structure.structure_result import (
    Structure as Structure,
)
from .structure.structure_result import (
    read_structure as read_structure,
)
from .structure.umap_map import (
    map_experts as map_experts,
)
from .structure.umap_result import (
    ExpertMap as ExpertMap,
)
from .structure.umap_result import (
    read_map as read_map,
)
from .structure.umap_result import (
    read_map_summary as read_map_summary,
)
