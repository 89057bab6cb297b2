"""The CTC beam search of a graph to be served, replaced by one of stock ops that is hundreds of times faster."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Tuple

from ckpt2saved import ctc
from ckpt2saved.errors import NotServable
from ckpt2saved.graph.beam_searches import BEAM_SEARCH
from ckpt2saved.saved_model.writing import ServingGraph, cut_down
from ckpt2saved.tf1 import tf, v1_control_flow

_GRAFTED = "rewritten"
_ENTER = ("Enter", "RefEnter")
_SHARED = ("Placeholder", "VariableV2", "Variable", "VarHandleOp")


@dataclass(frozen=True)
class Decoder:
    """A CTC beam search that was replaced: its node, its settings, and what took the place of each of its outputs."""

    name: str
    beam_width: int
    top_paths: int
    merge_repeated: bool
    outputs: Tuple[Tuple[str, str], ...]  # (tensor before, tensor after): indices, values, shapes, log-probability


@dataclass(frozen=True)
class Rewritten:
    """A serving graph with other decoders, and which they are."""

    serving: ServingGraph
    replaced: Tuple[Decoder, ...]
    in_functions: int  # decoders inside the function library, which are left as they are


def replace_decoders(serving: ServingGraph, kind: str) -> Rewritten:
    """A copy of `serving` in which every CTC beam search is `kind`: fast, the same answers from stock ops; or greedy.

    With the kind stock, nothing is replaced.
    Greedy decoding takes the best class of each step: other answers now and then, and only one path (raises NotServable
    where a decoder has top_paths > 1). Its log-probability is that of its one alignment. `serving` is left as it is.
    """
    if kind == "stock":
        return Rewritten(serving, (), 0)
    graph = tf.Graph()
    with graph.as_default(), v1_control_flow():
        tf.import_graph_def(serving.graph_def, name="")
        decoders = [op for op in graph.get_operations() if op.type == BEAM_SEARCH]
        replaced = tuple(_replacement(op, kind) for op in decoders)
    in_functions = sum(
        node.op == BEAM_SEARCH for function in serving.graph_def.library.function for node in function.node_def
    )
    if not replaced:
        return Rewritten(serving, (), in_functions)
    tensors = {before: after for decoder in replaced for before, after in decoder.outputs}
    graph_def = _rewired(graph.as_graph_def(), tensors)
    signature_defs = {name: _renamed(definition, tensors) for name, definition in serving.signature_defs.items()}
    rewritten = replace(serving, graph_def=graph_def, signature_defs=signature_defs)
    return Rewritten(cut_down(rewritten), replaced, in_functions)


def graft(graph: tf.Graph, rewritten: Rewritten) -> Dict[str, Any]:
    """Put the rewritten graph into `graph` beside what it was made from, on the same inputs and variables.

    Returns its signatures in there. A session that `graph`'s variables are restored in can then be asked both.
    """
    graph_def = tf.GraphDef()
    graph_def.CopyFrom(rewritten.serving.graph_def)
    for node in graph_def.node:
        if node.op in _ENTER:  # two loops of one name would be taken for one
            node.attr["frame_name"].s = tf.compat.as_bytes(grafted(tf.compat.as_text(node.attr["frame_name"].s)))
    shared = [node.name + ":0" for node in graph_def.node if node.op in _SHARED]
    with graph.as_default():
        tensors = {name: graph.get_tensor_by_name(name) for name in shared}
        tf.import_graph_def(graph_def, input_map=tensors, name=_GRAFTED)
    signature_defs = {}
    for name, definition in rewritten.serving.signature_defs.items():
        signature_defs[name] = _renamed(definition, {i.name: grafted(i.name) for i in definition.outputs.values()})
    return signature_defs


def grafted(tensor: str) -> str:
    """What `graft` calls a tensor of the rewritten graph."""
    return f"{_GRAFTED}/{tensor}"


def _replacement(op: tf.Operation, kind: str) -> Decoder:
    """Build what replaces a decoder beside it, in the default graph."""
    logits, lengths = op.inputs
    width, paths, merge = [op.get_attr(name) for name in ("beam_width", "top_paths", "merge_repeated")]
    if kind == "greedy" and paths > 1:
        raise NotServable(
            f"{op.name}: greedy decoding finds one path, and this decoder is asked for {paths}; take fast or stock"
        )
    with tf.name_scope(f"{op.name}/{kind}/"):
        if kind == "greedy":
            decoded, log_probability = ctc.greedy(logits, lengths)
        else:
            decoded, log_probability = ctc.beam_search(
                logits, lengths, beam_width=width, top_paths=paths, merge_repeated=merge
            )
    after = [path.indices for path in decoded] + [path.values for path in decoded]
    after += [path.dense_shape for path in decoded] + [log_probability]
    outputs = tuple((before.name, tensor.name) for before, tensor in zip(op.outputs, after))
    return Decoder(op.name, width, paths, merge, outputs)


def _rewired(graph_def: Any, tensors: Dict[str, str]) -> Any:
    """`graph_def` with each use of a tensor in `tensors` turned into one of the tensor that stands for it."""
    inputs = {_input_name(before): _input_name(after) for before, after in tensors.items()}
    controls: Dict[str, List[str]] = {}
    for before, after in tensors.items():
        controls.setdefault("^" + before.partition(":")[0], []).append("^" + after.partition(":")[0])
    for node in graph_def.node:
        sources = [inputs.get(source, source) for source in node.input]
        if sources != list(node.input) or any(source in controls for source in sources):
            node.input[:] = [new for source in sources for new in controls.get(source, [source])]
    return graph_def


def _input_name(tensor: str) -> str:
    """A tensor as a NodeDef names its inputs: the first output of a node goes by the node's name."""
    return tensor[:-2] if tensor.endswith(":0") else tensor


def _renamed(signature_def: Any, tensors: Dict[str, str]) -> Any:
    copy = type(signature_def)()
    copy.CopyFrom(signature_def)
    for info in copy.outputs.values():
        info.name = tensors.get(info.name, info.name)
    return copy
