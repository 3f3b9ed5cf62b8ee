"""One measurement per file: functions from a run to labelled numbers."""

from vlmlens.graders import grade
from vlmlens.probes.active import direction_words, most_active
from vlmlens.probes.atlas import head_atlas, looks_needs, patch_looks
from vlmlens.probes.attention_maps import image_attention, word_attention
from vlmlens.probes.attribution import (
    answer_score,
    attribution_patching,
    integrated_gradients,
    patch_map,
)
from vlmlens.probes.by_frame import frame_balance
from vlmlens.probes.by_head import head_probe
from vlmlens.probes.cmb import cross_modality_balance, modality_dominance, paper_balance
from vlmlens.probes.contribution import attention_contribution
from vlmlens.probes.correctness import accuracy, answer_log_prob, answers
from vlmlens.probes.direct import direct_attribution
from vlmlens.probes.divergence import output_divergence
from vlmlens.probes.dose import dose_response
from vlmlens.probes.embedding import embedding_norms, quartiles, token_norms
from vlmlens.probes.entropy import attention_entropy
from vlmlens.probes.features import marking_features
from vlmlens.probes.flipped import answer_flips
from vlmlens.probes.lens import lens_needs, logit_lens, on_image
from vlmlens.probes.linear import labels_in_boxes, linear_probe
from vlmlens.probes.localization import box_overlap, localization_heads, localization_map
from vlmlens.probes.norms import hidden_norms, norm_ratio
from vlmlens.probes.overlap import object_overlap
from vlmlens.probes.psi import position_sensitivity_index
from vlmlens.probes.recited import answer_recited
from vlmlens.probes.residual import residual_stream
from vlmlens.probes.rope import paper_query, rope_sensitivity
from vlmlens.probes.rows import attention_rows
from vlmlens.probes.seen import share_seen
from vlmlens.probes.shares import attention_shares, paper_shares
from vlmlens.probes.similarity import similarity_map
from vlmlens.probes.sinks import sink_tokens
from vlmlens.probes.tuned import TunedLens, lens_divergence, tuned_lens_needs

#: Every measurement by its name.
PROBES = {
    probe.__name__: probe
    for probe in (
        accuracy,
        answer_flips,
        answer_log_prob,
        answer_recited,
        attention_contribution,
        attention_entropy,
        attention_rows,
        attention_shares,
        attribution_patching,
        cross_modality_balance,
        frame_balance,
        direct_attribution,
        direction_words,
        dose_response,
        embedding_norms,
        head_atlas,
        head_probe,
        hidden_norms,
        image_attention,
        integrated_gradients,
        lens_divergence,
        linear_probe,
        localization_heads,
        localization_map,
        logit_lens,
        marking_features,
        modality_dominance,
        most_active,
        norm_ratio,
        object_overlap,
        output_divergence,
        paper_balance,
        paper_shares,
        patch_looks,
        position_sensitivity_index,
        residual_stream,
        rope_sensitivity,
        share_seen,
        similarity_map,
        sink_tokens,
        token_norms,
        word_attention,
    )
}

__all__ = [
    "PROBES",
    "TunedLens",
    "accuracy",
    "answer_flips",
    "answer_log_prob",
    "answer_recited",
    "answer_score",
    "answers",
    "attention_contribution",
    "attention_entropy",
    "attention_rows",
    "attention_shares",
    "attribution_patching",
    "box_overlap",
    "cross_modality_balance",
    "direct_attribution",
    "direction_words",
    "dose_response",
    "embedding_norms",
    "frame_balance",
    "grade",
    "head_atlas",
    "head_probe",
    "hidden_norms",
    "image_attention",
    "integrated_gradients",
    "labels_in_boxes",
    "lens_divergence",
    "lens_needs",
    "linear_probe",
    "localization_heads",
    "localization_map",
    "logit_lens",
    "looks_needs",
    "marking_features",
    "modality_dominance",
    "most_active",
    "norm_ratio",
    "object_overlap",
    "on_image",
    "output_divergence",
    "paper_balance",
    "paper_query",
    "paper_shares",
    "patch_looks",
    "patch_map",
    "position_sensitivity_index",
    "quartiles",
    "residual_stream",
    "rope_sensitivity",
    "share_seen",
    "similarity_map",
    "sink_tokens",
    "token_norms",
    "tuned_lens_needs",
    "word_attention",
]
