"""Real, small checkpoints, and the command line as a function."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import sys

import click
import pytest
from click.testing import CliRunner

from ckpt2saved import versions
from ckpt2saved.answers.worker import kept_processes
from tests.support import golden_rule
from tests.support.checkpoints import crnn_shapes, ctpn_shapes, filled, write_checkpoint
from tests.support.schemas import as_an_editor_reads, misfits, misfits_of_output

# As ckpt2saved.graph.tf1 has it, for tests that import TensorFlow before that does.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# As ckpt2saved.client.rpc has it, for tests that import grpc before that does: these processes start many others.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
# The process takes seconds. Tests of it turn it on.
os.environ["CKPT2SAVED_WITH_ONEDNN"] = "0"


@pytest.fixture(scope="session", autouse=True)
def _without_gpu_and_narrow_tables():
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.pop("COLUMNS", None)  # of whoever runs the tests; the tables obey it


@pytest.fixture(scope="session", autouse=True)
def _kept_processes():
    """The process that loads the files of one test serves the next one: TensorFlow takes seconds to start."""
    with kept_processes():
        yield


@pytest.fixture(scope="session", autouse=True)
def _signature_files_fit_their_schema():
    """Every signature file that a test reads, in this process, without a mistake."""
    from ckpt2saved.signature.schema import SchemaReader

    read = SchemaReader.model

    def checked(reader, root):
        model = read(reader, root)
        assert model is None or misfits("signature", as_an_editor_reads(root)) == []
        return model

    SchemaReader.model = checked
    yield
    SchemaReader.model = read


_misfits = []  # of what commands printed, and exports recorded, in this test


@pytest.fixture(scope="session", autouse=True)
def _outputs_are_compared_with_their_schemas():
    """Every output of --json, of every command that is called in this process."""
    import ckpt2saved.cli

    modules = [module for name, module in sys.modules.items() if name.startswith(ckpt2saved.cli.__name__ + ".")]
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            for name in [name for name in vars(module) if re.match("print_json(_line)?$", name)]:
                patch.setattr(module, name, _comparing(getattr(module, name)))
        yield


def _comparing(print_json):
    """The function that prints, and compares what it prints with the schema of the command that runs."""

    def checked(content):
        context = click.get_current_context()
        name, parent = context.command.name, context.parent.command.name if context.parent else ""
        _misfits.extend(misfits_of_output(f"bench {name}" if parent == "bench" else name, dict(content, format=1)))
        print_json(content)

    return checked


def _write_checked_provenance(version_dir, content):
    _misfits.extend(misfits_of_output("provenance", content))
    return _write_provenance(version_dir, content)


# Before a module of tests imports the pipeline of exports, which takes the function from there.
_write_provenance = versions.write_provenance
versions.write_provenance = _write_checked_provenance


@pytest.fixture(autouse=True)
def _outputs_fit_their_schemas():
    yield
    found = list(_misfits)
    _misfits.clear()
    assert found == [], "see tools/schemas"


@pytest.fixture(scope="session")
def run():
    """Call the command line in this process."""
    from ckpt2saved.cli import main

    def call(*arguments, **keywords):
        return CliRunner().invoke(main, [str(argument) for argument in arguments], **keywords)

    return call


@pytest.fixture(scope="session")
def run_apart():
    """Call the command line in this process, with stdout and stderr apart in every release of click."""
    from ckpt2saved.cli import main

    before_click_8_2 = "mix_stderr" in inspect.signature(CliRunner).parameters
    runner = CliRunner(mix_stderr=False) if before_click_8_2 else CliRunner()

    def call(*arguments, **keywords):
        return runner.invoke(main, [str(argument) for argument in arguments], **keywords)

    return call


# No two sizes alike, so that none can stand for another by mistake.


@pytest.fixture(scope="session")
def crnn_checkpoint(tmp_path_factory):
    """The prefix of a small CRNN's checkpoint. Not to be written to."""
    prefix = tmp_path_factory.mktemp("crnn") / "model.ckpt-7"
    values = filled(crnn_shapes())
    values["global_step"] = golden_rule.np.int64(7)
    values["shadow/conv1/W/Adam"] = values["shadow/conv1/W"]
    return write_checkpoint(prefix, {name: golden_rule.np.asarray(value) for name, value in values.items()})


@pytest.fixture(scope="session")
def ctpn_checkpoint(tmp_path_factory):
    """The prefix of a small CTPN's checkpoint, averages included. Not to be written to."""
    prefix = tmp_path_factory.mktemp("ctpn") / "model.ckpt-123"
    values = filled(ctpn_shapes())
    return write_checkpoint(prefix, {name: golden_rule.np.asarray(value) for name, value in values.items()})


@pytest.fixture(scope="session")
def exported_crnn(tmp_path_factory, crnn_checkpoint):
    """A version of the small CRNN, published once. Not to be written to."""
    from ckpt2saved.exporting.pipeline import export_checkpoint
    from ckpt2saved.exporting.plan import ExportOptions, plan_export
    from ckpt2saved.sources.graph_plan import GraphOptions

    base = tmp_path_factory.mktemp("exported") / "crnn"
    return export_checkpoint(
        plan_export(ExportOptions(GraphOptions(model="crnn", checkpoints=(crnn_checkpoint,)), base))
    ).path


@pytest.fixture
def version(tmp_path, exported_crnn):
    """A copy of it that may be spoilt."""
    target = tmp_path / "models" / "crnn" / "1"
    shutil.copytree(str(exported_crnn), str(target))
    return target


@pytest.fixture(scope="session")
def inspected(run):
    """The inspection of a path, as JSON gives it."""

    def call(path, *arguments):
        result = run("inspect", path, "--json", *arguments)
        assert result.exit_code == 0, result.output
        content = json.loads(result.stdout if hasattr(result, "stdout") else result.output)
        assert content["format"] == 1
        return content

    return call
