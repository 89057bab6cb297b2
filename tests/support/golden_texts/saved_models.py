"""Golden texts of SavedModels and of their warm-up requests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.requests.request import Request
from ckpt2saved.requests.warm_up.file import WARMUP_FILE
from ckpt2saved.requests.warm_up.maker import _COPY, _TOTAL, WarmUpMaker, _Record
from ckpt2saved.requests.warm_up.source import WarmUpSource
from ckpt2saved.verification.servability import check_content
from ckpt2saved.verification.steps import verify_version
from tests.support.checkpoints import write_checkpoint
from tests.support.golden_texts.finding import GRAPH, judged, of_meta_graph, verified, with_meta_graph
from tests.support.versions import make_version


def with_asset(name):
    def change(meta_graph):
        asset = meta_graph.asset_file_def.add()
        asset.tensor_info.name, asset.filename = "x:0", name

    return of_meta_graph(change)


def renamed(meta_graph):
    definition = meta_graph.signature_def["serving_default"]
    meta_graph.signature_def["dense"].CopyFrom(definition)
    del meta_graph.signature_def["serving_default"]


def two_init_ops(meta_graph):
    meta_graph.collection_def["saved_model_main_op"].node_list.value.extend(["x", "y"])


def other_variables(version):
    shutil.rmtree(str(version / "variables"))
    (version / "variables").mkdir()
    write_checkpoint(version / "variables" / "variables", {"v": np.zeros(2, "float32")})


def directory_in_place(version):
    (version / GRAPH).unlink()
    (version / GRAPH).mkdir()


def not_loadable(folder):
    version = make_version(folder, "1")
    with_meta_graph(version, lambda meta_graph: meta_graph.graph_def.node.add(op="OurOwnOp", name="own"))
    return verify_version(version).problems


def with_record(content):
    def found(folder):
        version = make_version(folder, "1")
        path = version / WARMUP_FILE
        path.parent.mkdir(exist_ok=True)
        with tf.python_io.TFRecordWriter(str(path)) as writer:
            writer.write(content)
        return check_content(version, ()).notes

    return found


def warm_up(form, lines=1, is_avoided=False, **source):
    def found(folder):
        maker = WarmUpMaker(WarmUpSource(**source), SimpleNamespace(), (), None)
        maker._is_avoided = lambda *names: is_avoided
        requests = [Request("a warm-up request", "dense", {"x": np.zeros([lines, 2])})]
        return maker._notes(requests, [_Record("dense", form, name="warmup")], ())

    return found


CASES = [
    (
        "asset-outside",
        with_asset("../words.txt"),
        "saved_model.pb: the asset '../words.txt' lies outside of assets/, the only directory from which TF Serving reads"
        " assets; export it again",
    ),
    (
        "batch-limit",
        warm_up(_TOTAL, 64),
        "warm-up requests: one has 64 lines, and a server with --enable_batching loads the version only"
        " if its max_batch_size is 64 or more",
    ),
    (
        "missing-asset",
        with_asset("words.txt"),
        "assets/words.txt: missing, and the graph reads it; copy the complete file again",
    ),
    (
        "no-default-signature",
        verified(renamed),
        "there is no signature serving_default, so that a request has to name one of dense",
    ),
    ("not-loadable", not_loadable, "TF Serving's loader refuses {folder}/1: Op type not registered 'OurOwnOp'…"),
    (
        "other-variables",
        judged(other_variables),
        "variables/variables.index: of another SavedModel: what the graph restores is not in it: w; copy"
        " the complete directory variables/ again",
    ),
    (
        "several-init-ops",
        of_meta_graph(two_init_ops),
        "saved_model.pb: 2 nodes are to be run after loading, and TF Serving takes one; export it again",
    ),
    (
        "slow-warmup",
        warm_up(_TOTAL, is_avoided=True),
        "dense: no warm-up request runs TensorFlow's beam search, which would delay the loading of the"
        " version; --warmup 1 writes a request that runs it",
    ),
    (
        "too-large",
        judged(lambda version: os.truncate(str(version / GRAPH), 3 << 30)),
        "saved_model.pb: 3221225472 bytes, and at most 2147483647 are read; export it again",
    ),
    (
        "uninitialized-variable",
        of_meta_graph(lambda meta_graph: meta_graph.ClearField("saver_def")),
        "saved_model.pb: variable w: nothing restores or initializes it when the SavedModel is loaded,"
        " so that requests fail; export it with its variables",
    ),
    (
        "unread-warmup",
        with_record(b""),
        "{folder}/1/assets.extra/tf_serving_warmup_requests: a record that is no Predict request; only"
        " those are read here",
    ),
    ("unreadable-file", judged(directory_in_place), "saved_model.pb: a directory, not a file"),
    (
        "unwritten-warmup",
        warm_up(_COPY, arrays=Path("in.npz")),
        "--warmup: these requests do not work with --enable_batching and are not written;"
        " --warmup-signature NAME writes them nevertheless",
    ),
    (
        "warmup-signature",
        warm_up(_COPY),
        "signature warmup: for warm-up requests only; it runs a copy of the graph of dense, because the"
        " inputs of dense do not work with --enable_batching",
    ),
]
