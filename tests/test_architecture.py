"""The architecture that the documentation describes is the one that the imports have."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "ckpt2saved"


def rows():
    """Folder or module -> (its sentence, whether it needs TensorFlow), in the order of the table of docs/development/architecture.md."""
    text = (ROOT / "docs" / "development" / "architecture.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"\| folder \| one sentence \| TensorFlow \|\n\|---\|---\|---\|\n((?:\| .*\n)+)", text)
    return {
        name: (sentence, needs) for name, sentence, needs in re.findall(r"\| `(\w+)\S*` \| (.*?) \| (\w+) \|\n", table)
    }


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        yield name[: -len(".__init__")] if name.endswith(".__init__") else name, path


def imported(nodes, known):
    """The modules of the package that these statements import."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ckpt2saved":
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in known else node.module
        elif isinstance(node, ast.Import):
            yield from [alias.name for alias in node.names if alias.name.split(".")[0] == "ckpt2saved"]


def folder_of(module):
    return module.split(".")[1] if "." in module else module


def test_the_table_lists_every_folder():
    """Each folder by the first sentence of its docstring; the package root stays small enough to be read at once."""
    table = rows()
    names = sorted(path.name for path in PACKAGE.iterdir() if path.name != "__pycache__")
    assert len(names) <= 24
    code = [name for name in names if not name.startswith("__") and name != "py.typed"]
    assert sorted(table) == sorted(name.partition(".")[0] for name in code)
    for name, (sentence, _) in table.items():
        path = PACKAGE / name / "__init__.py" if (PACKAGE / name).is_dir() else PACKAGE / f"{name}.py"
        documented = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).split("\n\n")[0]
        assert documented.replace("\n", " ") == sentence, name


def test_imports_point_down_the_table():
    """Also those inside of functions: no folder imports one above it, so that no cycle is possible."""
    order, known = list(rows()), dict(modules())
    upwards = set()
    for module, path in known.items():
        for other in imported(ast.walk(ast.parse(path.read_text(encoding="utf-8"))), known):
            folders = folder_of(module), folder_of(other)
            if folders[0] in order and folders[1] in order and order.index(folders[1]) < order.index(folders[0]):
                upwards.add(folders)
    assert not upwards


def test_what_needs_no_tensorflow_imports_none():
    """A folder that is said to need no TensorFlow reaches tf1.py through no import outside of functions."""
    known, table = dict(modules()), rows()
    direct = {
        module: set(imported(ast.parse(path.read_text(encoding="utf-8")).body, known)) for module, path in known.items()
    }
    # `import a.b` also imports a.
    direct = {module: {up for name in names for up in _with_parents(name)} for module, names in direct.items()}
    for module in known:
        if table.get(folder_of(module), ("", "yes"))[1] == "no":
            reached, ahead = set(), [module]
            while ahead:
                name = ahead.pop()
                if name not in reached:
                    reached.add(name)
                    ahead += direct.get(name, ())
            assert "ckpt2saved.graph.tf1" not in reached, module


def _with_parents(name):
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def test_the_tests_lie_as_the_package_does():
    """A folder of tests for each folder of the package; no test module imports another, what they share is in support/."""
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    tested = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    # Of several folders together: commands that are killed, raced and refused by the system; readers of every folder.
    tested -= {"faults", "fuzz"}
    assert tested <= folders and folders - tested <= {"requests"}
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                parts = (node.module or "").split(".") + [alias.name for alias in node.names]
                assert not any(part.startswith("test_") or part == "conftest" for part in parts), path


def _parsed():
    for _, path in modules():
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def _called(node):
    return getattr(node, "id", getattr(node, "attr", ""))


def test_no_function_has_more_than_six_parameters():
    """Values that travel together are a type; commands and the functions of the API have a parameter for each option."""
    for path, tree in _parsed():
        for node in ast.walk(tree) if path != PACKAGE / "__init__.py" else ():
            if isinstance(node, ast.FunctionDef):
                names = [one.arg for one in node.args.args + node.args.kwonlyargs if one.arg not in ("self", "cls")]
                is_command = any(_called(getattr(one, "func", one)) == "command" for one in node.decorator_list)
                assert is_command or len(names) <= 6, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {names}"


def test_no_dataclass_is_built_with_more_than_four_positional_arguments():
    """More values than that are told apart by keywords."""
    classes = {
        node.name
        for _, tree in _parsed()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any("dataclass" in ast.dump(one) for one in node.decorator_list)
    }
    for path, tree in _parsed():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _called(node.func) in classes:
                assert len(node.args) <= 4, f"{path.relative_to(ROOT)}:{node.lineno} {_called(node.func)}"
