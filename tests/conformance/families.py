"""Operators by what they are for, as the tables of the page group them."""

from collections.abc import Mapping

_FAMILIES = {
    "arithmetic": """Abs Add BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Clip Div Erf
        Exp Floor Log Max Mean Min Mod Mul Neg Pow Reciprocal Round Sign Sqrt Sub Sum""",
    "trigonometry": "Acos Acosh Asin Asinh Atan Atanh Cos Cosh Sin Sinh Tan Tanh",
    "activations": """Celu Elu Gelu HardSigmoid HardSwish Hardmax LeakyRelu LogSoftmax Mish PRelu
        Relu Selu Shrink Sigmoid Softmax Softplus Softsign SwiGLU Swish ThresholdedRelu""",
    "comparison and logic": """And Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not Or
        Where Xor""",
    "casts": "BitCast Cast CastLike",
    "matrices": "Det Einsum Gemm MatMul",
    "convolution": "CausalConvWithState Col2Im Conv ConvTranspose DeformConv",
    "pooling": """AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool MaxRoiPool
        MaxUnpool RoiAlign""",
    "normalisation": """BatchNormalization Dropout GroupNormalization InstanceNormalization LRN
        LayerNormalization LpNormalization MeanVarianceNormalization RMSNormalization""",
    "reductions": """ArgMax ArgMin CumProd CumSum ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
        ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare""",
    "shapes": """CenterCropPad Concat DepthToSpace Expand Flatten Identity Pad Reshape Shape Size
        Slice SpaceToDepth Split Squeeze Tile Transpose Trilu Unsqueeze""",
    "indices": """Compress Gather GatherElements GatherND NonMaxSuppression NonZero OneHot
        ReverseSequence Scatter ScatterElements ScatterND TensorScatter TopK Unique""",
    "constants and random values": """Bernoulli Constant ConstantOfShape EyeLike Multinomial
        RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range""",
    "images": "AffineGrid GridSample ImageDecoder Resize Upsample",
    "signals": "BlackmanWindow DFT HammingWindow HannWindow MelWeightMatrix STFT",
    "quantisation": """ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv
        QLinearMatMul QuantizeLinear""",
    "attention": "Attention FlexAttention LinearAttention RotaryEmbedding",
    "recurrence": "GRU LSTM RNN",
    "control flow": "If Loop Scan",
    "sequences and optionals": """ConcatFromSequence Optional OptionalGetElement OptionalHasElement
        SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength
        SequenceMap SplitToSequence""",
    "text": "RegexFullMatch StringConcat StringNormalizer StringSplit TfIdfVectorizer",
    "classic machine learning": """ArrayFeatureExtractor Binarizer LabelEncoder TreeEnsemble
        TreeEnsembleClassifier TreeEnsembleRegressor""",
    "losses and training": """Adagrad Adam Gradient Momentum NegativeLogLikelihoodLoss
        SoftmaxCrossEntropyLoss""",
    "small networks (simple)": "simple",
    "networks (light)": "light",
    "PyTorch modules (pytorch-converted)": "pytorch-converted",
    "PyTorch operators (pytorch-operator)": "pytorch-operator",
}
FAMILIES: Mapping[str, str] = {
    operator: family for family, names in _FAMILIES.items() for operator in names.split()
}
"""The family of an operator."""

ORDER = (*_FAMILIES, "others")


def family(operator: str) -> str:
    """``others`` for what is newer than this table."""
    return FAMILIES.get(operator, "others")
