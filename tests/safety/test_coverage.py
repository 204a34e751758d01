"""Which operators of ONNX Runtime's CPU provider have a rule, and that every rule has a case."""

from onnxruntime.capi import onnxruntime_pybind11_state

from inference_service.safety import rules
from inference_service.safety.call import RULES
from tests.safety.mutations import examiner

WITHOUT_RULE = {
    "": "Crop DynamicSlice MemcpyFromHost MemcpyToHost",
    "ai.onnx.ml": "CastMap DictVectorizer",  # they take maps
    "com.microsoft": """
        AttnLSTM BeamSearch BifurcationDetector BranchwiseRMSNorm CausalConvWithState
        ConvTransposeWithDynamicPads CropAndResize DecoderMaskedMultiHeadAttention EngramGate
        GatedAdd GatedDeltaNet GatedRMSNorm GatherND GatherPacked GreedySearch
        HyperConnectionPostMix HyperConnectionPreMix LinearAttention LinearAttentionGate
        MRotaryEmbedding MatMulFpQ4 MaxpoolWithMask MoE MoEGroupRouter NGramHashMapping Pad
        QEmbedLayerNormalization QMoE Range SampleOp Sampling ScaledSiLU SparseAttention
        SparseToDenseMatMul UnfoldTensor Unique VarlenCausalConvWithState VarlenNGramHashMapping
        WhisperBeamSearch WordConvEmbedding
    """,
}
"""Unproven wherever rows reach them."""

WITHOUT_CASE = {
    "signals.element_wise", "signals.image_scaler",  # experimental operators of the first versions
    "elementwise.bit_cast",  # no kernel yet
}  # fmt: skip
"""Rules that no directed case reaches, by module and function."""


def test_every_operator_has_a_rule_or_is_known_to_have_none() -> None:
    kernels = {
        (kernel.domain, kernel.op_name)
        for kernel in onnxruntime_pybind11_state.get_all_opkernel_def()
        if kernel.provider == "CPUExecutionProvider" and kernel.domain in WITHOUT_RULE
    }
    known = {(domain, name) for domain, names in WITHOUT_RULE.items() for name in names.split()}
    assert rules.__all__
    assert kernels - RULES.keys() - known == set()
    assert known & RULES.keys() == set()


def test_every_rule_has_a_case() -> None:
    reached = {RULES[key].function for key in examiner().slots if key in RULES}
    every = {entry.function for entry in RULES.values()}
    names = {
        f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        for function in every - reached
    }
    assert names == WITHOUT_CASE
