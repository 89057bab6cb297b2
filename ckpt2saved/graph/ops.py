"""Sets of TensorFlow ops by what they do, each defined here once; without TensorFlow.

`tests/graph/test_ops.py` compares the sets with the table of the ops of every release: it finds names that no release
has, and ops that a newer release adds to a family.
"""

from __future__ import annotations

import functools
import re
from typing import Any, Callable, Mapping

# State.
REFERENCE_VARIABLES = ("Variable", "VariableV2")
RESOURCE_VARIABLES = ("VarHandleOp",)
VARIABLES = REFERENCE_VARIABLES + RESOURCE_VARIABLES
READS_VARIABLE = "ReadVariableOp"
ASSIGNS_VALUE = ("Assign", "AssignVariableOp")
# Assign to the whole variable a value that is computed from a tensor.
ASSIGNS_WHOLE = ASSIGNS_VALUE + ("AssignSub", "AssignAdd", "AssignSubVariableOp", "AssignAddVariableOp")
ASSIGNMENTS = ASSIGNS_WHOLE + (
    "ScatterUpdate",
    "ScatterAdd",
    "ScatterSub",
    "ResourceScatterUpdate",
    "ResourceScatterAdd",
    "ResourceScatterSub",
    "CountUpTo",
    "ResourceCountUpTo",
)
IMMUTABLE_TABLES = ("HashTable", "HashTableV2")
MUTABLE_TABLES = (
    "MutableHashTable",
    "MutableHashTableV2",
    "MutableHashTableOfTensors",
    "MutableHashTableOfTensorsV2",
    "MutableDenseHashTable",
    "MutableDenseHashTableV2",
)
TABLES = IMMUTABLE_TABLES + MUTABLE_TABLES
_STATE = re.compile(r"(Variable|VariableV2|VarHandleOp|(Anonymous)?(Mutable)?(Dense)?HashTable\w*)\Z")
# Change the content of a variable, a table or a queue. A TensorArray lasts no longer than the request.
_CHANGES_STATE = re.compile(
    r"(Assign(Add|Sub)?|Assign(Add|Sub)?VariableOp|(Resource)?CountUpTo|(Resource)?(Sparse)?Apply\w+"
    r"|(Resource)?Scatter(Nd)?(Update|Add|Sub|Mul|Div|Min|Max)|(Resource)?StridedSliceAssign"
    r"|LookupTable(Insert|Import|Remove)(V2)?"
    r"|(Queue|Barrier)(Enqueue|Dequeue|Insert|Take)\w*|IteratorGetNext\w*|(Ordered)?Map(Stage|Unstage)\w*"
    r"|(Un)?[Ss]tage|Stack(Push|Pop)(V2)?)\Z"
)

# From outside of the graph.
UNFED_PLACEHOLDERS = ("Placeholder", "PlaceholderV2")  # have no value unless they are fed
PLACEHOLDERS = UNFED_PLACEHOLDERS + ("PlaceholderWithDefault",)
PYTHON = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
_PIPELINE = re.compile(
    r"(\w*Dequeue\w*|\w*GetNext\w*|ReaderRead\w*|\w*Unstage\w*|StagePeek|\w*MapPeek|BarrierTakeMany"
    r"|RecordInput)\Z"
)
_PIPELINE_RESOURCE = re.compile(
    r"(\w*Queue(V2)?|\w*Iterator(V[0-9])?|\w*IteratorFromStringHandle(V2)?|Barrier|\w*Reader(V2)?)\Z"
)
# Return several parts of one example, each as an output.
_PARSES_EXAMPLES = re.compile(r"(Parse(Single)?(Sequence)?Example\w*|DecodeCSV|OptionalGetValue)\Z")
_SPARSE_BY_HANDLE = re.compile(r"\w*TensorsMap\Z")

# Control flow of TensorFlow 1.
SWITCHES = ("Switch", "RefSwitch")
MERGES = ("Merge", "RefMerge")
ENTERS = ("Enter", "RefEnter")
EXITS = ("Exit", "RefExit")
ITERATIONS = ("NextIteration", "RefNextIteration")
SELECTS = ("Select", "SelectV2")

# Calls of functions, as TensorFlow 2 has them.
CONDITIONALS = ("If", "StatelessIf")
CASES = ("Case", "StatelessCase")
LOOPS = ("While", "StatelessWhile")
CALLS = ("PartitionedCall", "StatefulPartitionedCall")
FUNCTIONAL = CONDITIONALS + CASES + LOOPS + CALLS

# Pass their first input on unchanged.
IDENTITIES = ("Identity", "RefIdentity")
PASSING = (
    ENTERS
    + IDENTITIES
    + ("StopGradient", "PreventGradient", "CheckNumerics", "Snapshot", "EnsureShape", "Print")
    + SWITCHES
    + (READS_VARIABLE,)
)
# Their values depend on the shape of their input only.
SIZES = ("Shape", "ShapeN", "Size", "Rank")
# Depend on shapes and not on values.
OF_SIZES = SIZES + ("ZerosLike", "OnesLike")

# Ops that take parts of weights; layers of Keras take them at every step.
PARTS = ("Split", "SplitV", "StridedSlice", "Slice", "Reshape", "Transpose", "ConcatV2", "ExpandDims", "Squeeze")

# Attributes of functions. TensorFlow replaces a call of a function that implements something by one of the function
# that implements the same and prefers the device of the call: core/grappler/optimizers/implementation_selector.cc.
IMPLEMENTS = "api_implements"
PREFERS = "api_preferred_device"

# Layers.
FUSED_BATCH_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "_FusedBatchNormEx")
CUDNN_RNNS = ("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3")
BEAM_SEARCH = "CTCBeamSearchDecoder"
CTC_DECODERS = (BEAM_SEARCH, "CTCGreedyDecoder")
CTC_LOSSES = ("CTCLoss", "CTCLossV2")
_LINEAR = re.compile(
    r"(Conv[23]D|DepthwiseConv2dNative|MatMul|BatchMatMul\w*|Einsum|BlockLSTM\w*|LSTMBlockCell|GRUBlockCell|CudnnRNN\w*"
    r"|_?FusedConv2D|Gather\w*|ResourceGather\w*)\Z"
)
# Also as a session runs them: its optimizer fuses ops with the next ones, and replaces them by those of oneDNN.
_CONVOLUTION = re.compile(r"_*\w*(Conv[23]D|DepthwiseConv2dNative)((?!Grad|BackpropFilter)\w)*\Z")
_PRODUCT = re.compile(r"_*(?!Tridiagonal)\w*(MatMul|Einsum)(?!\w*Grad)\w*\Z")
_RECURRENT = re.compile(r"(CudnnRNN(V[23])?|BlockLSTM(V2)?|LSTMBlockCell|GRUBlockCell)\Z")
_ACTIVATION = re.compile(
    r"(_Mkl(Native)?)?(BiasAdd(V1)?|_?(Fused)?BatchNorm\w*|LRN|(Max|Avg)Pool(3D|V2)?|(Leaky)?Relu6?|Selu|Elu|Softplus"
    r"|Softsign|Sigmoid|Tanh|Add(V2)?|AddN|Sub|Mul|RealDiv|Maximum|Minimum|Rsqrt|Sqrt|SquaredDifference)\Z"
)

# Pictures, and what a session adds to pass tensors from device to device, and to and from the request.
_DECODES_PICTURE = re.compile(r"Decode(AndCrop)?(Bmp|Gif|Image|Jpeg|Png|WebP)\Z")
_TRANSFER = re.compile(r"_(Host)?(Send|Recv)|_(Device)?(Arg|Retval)\Z")

_OF_CUDNN = re.compile(r"CudnnRNN\w*\Z")

# Training.
_UPDATE = re.compile(r"(Resource)?(Sparse)?Apply[A-Z]\w*\Z")
_GRADIENT = re.compile(r"\w*(Grad|GradV[0-9]|Backprop\w*|BackpropV[0-9])\Z")

UNIFORM = ("RandomUniform", "StatelessRandomUniform", "StatelessRandomUniformV2", "StatefulUniform")
_RANDOM = re.compile(
    r"(Risc)?Random(Uniform|UniformInt|StandardNormal|Shuffle|Gamma|Poisson|PoissonV2|Crop|IndexShuffle)"
    r"|(Stateless)?(Parameterized)?TruncatedNormal(V2)?|(Stateless)?Multinomial"
    r"|(Stateless)?SampleDistortedBoundingBox(V2)?"
    r"|Stateless(Random(?!Get)\w+|Shuffle)"
    r"|Stateful(Uniform|StandardNormal|TruncatedNormal|Random)\w*"
    r"|NonDeterministicInts|RngReadAndSkip|XlaRngBitGenerator|StochasticCastToInt"
    r"|(Uniform|LogUniform|ThreadUnsafeUnigram|LearnedUnigram|FixedUnigram)CandidateSampler"
)

# Run for their side effects, not for a result.
_EFFECT = re.compile(r"(Assign\w*|\w*Save\w*|\w*Summary\w*|\w*Enqueue\w*|Print\w*|Assert|NoOp|Resource\w*Apply\w*)\Z")


def _by_op(predicate: Callable[[str], bool]) -> Callable[[str], bool]:
    """The predicate, computed once for each op: a graph has many nodes and few ops."""
    return functools.lru_cache(maxsize=4096)(predicate)


@_by_op
def is_random(op: str) -> bool:
    """Whether an op draws random numbers.

    A queue or a dataset that shuffles (RandomShuffleQueueV2, RandomDataset, ShuffleDataset) draws none: it returns
    data. Nor do ops that only make seeds and algorithm numbers (StatelessRandomGetKeyCounter, AnonymousSeedGenerator).
    """
    return _RANDOM.fullmatch(op) is not None


@_by_op
def is_pipeline(op: str) -> bool:
    """Whether an op returns data of an input pipeline: of a queue, an iterator, a reader or a staging area."""
    return _PIPELINE.match(op) is not None


@_by_op
def is_of_pipeline(op: str) -> bool:
    """Whether an op returns data of an input pipeline, or is its queue, iterator or reader."""
    return is_pipeline(op) or _PIPELINE_RESOURCE.match(op) is not None


@_by_op
def is_outside(op: str) -> bool:
    """Whether the values of an op come from outside of the graph: it is a placeholder, or of an input pipeline."""
    return op in PLACEHOLDERS or is_of_pipeline(op)


@_by_op
def is_never_served(op: str) -> bool:
    """Whether no server can run an op: it returns data of an input pipeline, or calls Python."""
    return is_pipeline(op) or op in PYTHON or _SPARSE_BY_HANDLE.match(op) is not None


@_by_op
def parses_examples(op: str) -> bool:
    """Whether an op takes a serialized example apart."""
    return _PARSES_EXAMPLES.match(op) is not None


@_by_op
def is_state(op: str) -> bool:
    """Whether an op is a variable or a lookup table, which keep values between requests."""
    return _STATE.match(op) is not None


@_by_op
def changes_state(op: str) -> bool:
    """Whether an op changes the content of a variable, a table or a queue."""
    return _CHANGES_STATE.match(op) is not None


@_by_op
def is_effect(op: str) -> bool:
    """Whether an op is run for its side effect: it assigns, saves, prints, checks or writes summaries."""
    return _EFFECT.match(op) is not None


@_by_op
def is_update(op: str) -> bool:
    """Whether an op is an optimizer's update of a variable."""
    return _UPDATE.match(op) is not None


@_by_op
def is_gradient(op: str) -> bool:
    """Whether an op computes the gradient of another one."""
    return _GRADIENT.match(op) is not None


@_by_op
def is_linear(op: str) -> bool:
    """Whether an op can apply weights: a product, or a look-up in a table of weights."""
    return _LINEAR.match(op) is not None


@_by_op
def is_convolution(op: str) -> bool:
    """Whether an op is a convolution, or one of those into which a session's optimizer turns it."""
    return _CONVOLUTION.match(op) is not None


@_by_op
def is_product(op: str) -> bool:
    """Whether an op is a product of matrices, or one of those into which a session's optimizer turns it."""
    return _PRODUCT.match(op) is not None


@_by_op
def is_recurrent(op: str) -> bool:
    """Whether an op is a whole recurrent layer or one step of it."""
    return _RECURRENT.match(op) is not None


@_by_op
def is_activation(op: str) -> bool:
    """Whether an op commonly ends a layer: bias, batch norm, activation or pooling, and the arithmetic of these."""
    return _ACTIVATION.match(op) is not None


@_by_op
def decodes_picture(op: str) -> bool:
    """Whether an op decodes the bytes of a picture."""
    return _DECODES_PICTURE.match(op) is not None


@_by_op
def is_transfer(op: str) -> bool:
    """Whether an op passes a tensor to or from another device or the request."""
    return _TRANSFER.match(op) is not None


@_by_op
def is_of_cudnn(op: str) -> bool:
    """Whether an op is one of cuDNN's recurrent networks, or works on their parameters."""
    return _OF_CUDNN.match(op) is not None


@_by_op
def is_lookup(op: str) -> bool:
    """Whether an op picks entries of its first input by the numbers in its second."""
    return "Gather" in op


def is_weight(attr: Mapping[str, Any]) -> bool:
    """Whether a variable with these attributes could be trained, unlike global_step and beta1_power."""
    kind = attr["dtype"].type if "dtype" in attr else 1
    scalar = "shape" in attr and not attr["shape"].shape.unknown_rank and not attr["shape"].shape.dim
    return kind in (1, 2, 14, 19) and not scalar  # DT_FLOAT, DT_DOUBLE, DT_BFLOAT16, DT_HALF


def data_format(node: Any) -> str:
    """The data_format of a node or NodeDef, or TensorFlow's default of that attribute; it is not added to the node."""
    return str(node.attr["data_format"].s.decode("ascii")) if "data_format" in node.attr else "NHWC"


def is_training(node: Any) -> bool:
    """Whether a node is a fused batch norm that uses batch statistics, which is the default of the attribute."""
    return node.op in FUSED_BATCH_NORMS and ("is_training" not in node.attr or node.attr["is_training"].b)
