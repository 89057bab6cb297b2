"""Ops of one kind for the analysis of columns, where several modules ask for them."""

from __future__ import annotations

from ckpt2saved.graph import probe
from ckpt2saved.graph.ops import EXITS, ITERATIONS, PASSING, SELECTS

# Element by element; those that make 0 of 0, and those that make nothing less than 0 of anything.
ZERO_OF_ZERO = (
    *("Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Tanh", "Softsign", "Neg", "Abs", "Square", "Sqrt", "Sign", "Sin"),
    *("Floor", "Ceil", "Round", "Rint", "Expm1", "Log1p", "Asinh", "Erf", "ZerosLike", *PASSING, *EXITS, *ITERATIONS),
)
POSITIVE = ("Relu", "Relu6", "Sigmoid", "Abs", "Square", "Sqrt", "Exp", "Softplus", "OnesLike", "SquaredDifference")
POSITIVE_OF_POSITIVE = ("Add", "AddV2", "AddN", "Mul", "Maximum", "RealDiv", *PASSING, *EXITS, *ITERATIONS)
ELEMENTWISE = (
    *(
        *probe.ELEMENTWISE,
        *SELECTS,
        *ZERO_OF_ZERO,
        *POSITIVE,
        "Cast",
        "AddN",
        "BiasAdd",
        "BiasAddV1",
        "Cos",
        "Atan",
        "Erfc",
    ),
    *("FloorDiv", "FloorMod", "Mod", "TruncateDiv", "LogicalOr", "ClipByValue", "IsNan", "IsInf", "IsFinite", "Xdivy"),
    *("BatchNormWithGlobalNormalization", "Xlogy", "MulNoNan", "Softplus", "Atan2", "Log"),
)
QUOTIENTS = ("RealDiv", "Div", "FloorDiv", "TruncateDiv", "FloorMod", "Mod", "Pow", "Xdivy", "Atan2")
UNBOUNDED = ("Reciprocal", "Inv", "Log", "Log1p", "Sqrt", "Rsqrt", "Exp", "Expm1", "Xlogy")

# Made from sizes, and for each line.
MADE_OF_SIZES = ("Fill", "Tile", "BroadcastTo", "Range", "TensorArrayV3", "TensorListReserve")
