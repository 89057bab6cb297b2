"""Names and paths with the characters of shells, YAML, CSV and Compose: whoever reads the files gets them as they were."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ckpt2saved.compatibility.image import find_image
from ckpt2saved.console.foreign_text import is_plain
from ckpt2saved.files.protobuf import text_format
from ckpt2saved.server_config import compose, docker, kubernetes
from ckpt2saved.server_config.config_files import models_config
from ckpt2saved.server_config.kubernetes import parse_claim
from ckpt2saved.server_config.models import Model
from ckpt2saved.server_config.mounts import Mount
from ckpt2saved.server_config.policy import Label, Policy
from ckpt2saved.server_config.pulling import Pulling
from ckpt2saved.server_config.server import Server, parse_name
from ckpt2saved.server_config.yaml_text import yaml_text
from tests.support.properties import assume, example, given, st

ODD = " '\"\\$`!#%&*?~;:,|<>(){}[]=+-@^\u00e9\u2028\u2029\u0085\u00a0\ufeff\u200f\U0001f600\ufffe09aynNe"
PATHS = st.lists(
    st.one_of(st.text(st.sampled_from(ODD), min_size=1, max_size=8), st.text(min_size=1, max_size=8)),
    min_size=1,
    max_size=3,
).map(lambda parts: "/" + "/".join(part.replace("/", "_").replace("\0", "_") for part in parts))
EXAMPLES = ["/$HOME/${x}/$$", "/a: b/- c", "/'\"'", "/`id`;id", '/a,b"c', "/%s", "/{{ x }}", "/#", "/\u2028x", "/a\\n"]


def examples(test):
    for text in EXAMPLES:
        test = example(text)(test)
    return test


def server(path, name="tensorflow-serving"):
    mount = Mount(Path(path), "/models/m")
    model = Model(name="m", directory=Path(path), mount=mount, policy=Policy(), labels=(Label("stable", 3),), loaded=())
    config = Mount(Path(path + ".config"), "/config")
    return Server(name=name, image=find_image("2.19"), models=(model,), directory=config.host, config_mount=config)


def usable(path):
    assume(is_plain(path) and os.path.abspath(path) == path)
    return path


def ruamel(text):
    """By a reader of YAML 1.2."""
    from ruamel.yaml import YAML

    return list(YAML(typ="safe", pure=True).load_all(text))


def go_csv(line):
    """The fields as encoding/csv of Go reads them, which docker does: a quotation mark stands in a quoted field only."""
    fields = re.findall(r'(?:^|,)("(?:[^"]|"")*"|[^",]*)(?=,|$)', line)
    assert ",".join(fields) == line
    return [field[1:-1].replace('""', '"') if field.startswith('"') else field for field in fields]


@given(PATHS)
@examples
def test_the_docker_command(path):
    words = docker.docker_command(server(usable(path)), nvidia_runtime=False)
    assert tuple(shlex.split(docker.as_line(words))) == words
    mounts = [go_csv(words[at + 1]) for at, word in enumerate(words) if word == "--mount"]
    assert mounts[0] == ["type=bind", f"source={path}", "target=/models/m", "readonly"]
    assert mounts[1][1] == f"source={path}.config"


@pytest.fixture(scope="module")
def fake_docker(tmp_path_factory):
    """Runs a script with a docker that prints its words, a zero byte after each."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "docker").write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    (folder / "docker").chmod(0o755)

    def run(script):
        (folder / "run.sh").write_bytes(script.encode("utf-8"))
        environment = dict(os.environ, PATH=f"{folder}:{os.environ['PATH']}", HOME="/wrong")
        done = subprocess.run(["sh", str(folder / "run.sh")], stdout=subprocess.PIPE, check=True, env=environment)
        return tuple(done.stdout.decode("utf-8").split("\0")[:-1])

    return run


def test_the_script_starts_docker_with_the_same_words(fake_docker):
    """By a real shell, for many paths in one command."""
    for path in [*EXAMPLES, *(f"/a{letter}b" for letter in ODD if is_plain(letter))]:
        words = docker.docker_command(server(path), nvidia_runtime=False)
        assert ("docker", *fake_docker(docker.as_script(words))) == words


@given(PATHS, st.from_regex(r"[a-z]([a-z0-9-]{0,5}[a-z0-9])?", fullmatch=True))
@example("/a", "y")
@example("/a", "n")
@example("/a", "null")
@example("/a", "e3")
def test_the_compose_file(path, name):
    text = compose.compose_file(server(usable(path), parse_name(name)), nvidia_runtime=False)
    (content,) = ruamel(text)
    assert content == yaml.safe_load(text)
    assert content["name"] == name and list(content["services"]) == [name]
    sources = [volume["source"] for volume in content["services"][name]["volumes"]]
    assert [interpolated(source) for source in sources] == [path, path + ".config"]


def interpolated(text):
    """As Compose replaces variables: two dollar signs are one, and one alone would be a variable."""
    assert "$" not in text.replace("$$", "")
    return text.replace("$$", "$")


@given(PATHS)
@examples
@example("/$(AWS_SECRET_ACCESS_KEY)/$$(x)/$")
def test_the_url_that_a_side_car_pulls_from(path):
    """In a compose file and in the manifests."""
    pulling = Pulling((f"s3://bucket{usable(path)}/m",), versions=1)
    mine = replace(server("/m"), pulling=pulling)
    (content,) = ruamel(compose.compose_file(mine, nvidia_runtime=False))
    words = content["services"]["tensorflow-serving-sync"]["command"]
    listening = pulling.arguments("--listen", ":9090")
    assert [interpolated(word) for word in words] == listening
    pod = ruamel(kubernetes.manifests(mine, {}, None))[1]["spec"]["template"]["spec"]
    assert [expanded(word) for word in pod["initContainers"][0]["args"]] == pulling.arguments("--until-ready")
    assert [expanded(word) for word in pod["containers"][1]["args"]] == listening


def expanded(text):
    """As Kubernetes expands arguments (third_party/forked/golang/expansion): $$ is $, and $(NAME) would be a variable."""
    assert not re.search(r"(?<!\$)(\$\$)*\$\(", text)
    return text.replace("$$", "$")


CLAIMS = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,6}[a-z0-9])?", fullmatch=True)


@given(PATHS, CLAIMS)
@example("/a", "1e3")
@example("/a", "0o17")
@example("/a", "1.5e3")
@example("/a", "2024-01-01")
@example("/a", "1.5")
@example("/a", "0x1f")
@example("/a", "n")
def test_the_kubernetes_manifests(path, claim):
    """Volumes of a path, and of a claim that looks like a number."""
    mine = server(usable(path))
    files = {"models.config": models_config(mine.models)}
    for given_claim, expected in ((None, path), (parse_claim(claim), claim)):
        text = kubernetes.manifests(mine, files, given_claim)
        documents = ruamel(text)
        assert documents == list(yaml.safe_load_all(text))
        config_map, deployment, _ = documents
        assert config_map["data"] == files
        volume = deployment["spec"]["template"]["spec"]["volumes"][0]
        found = volume.get("hostPath", {}).get("path") or volume["persistentVolumeClaim"]["claimName"]
        assert found == expected and isinstance(found, str)


VALUES = st.recursive(
    st.one_of(
        st.text(st.sampled_from(ODD + "\n\t~.0123456789xob_"), max_size=6),
        st.text(max_size=6),
        st.integers(),
        st.booleans(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)


@given(VALUES)
@example("y")
@example("0o17")
@example("1e3")
@example("-_")
@example("._")
@example(["a\nb", " \n", "\n"])
def test_yaml_is_read_as_it_was_written(value):
    """By a reader of YAML 1.1 and by one of 1.2; what is no text to a reader in Go is in quotes."""
    text = yaml_text([value])
    assert list(yaml.safe_load_all(text)) == [value]
    assert ruamel(text) == [value]
    assert not re.search(r"(?m)(^|[:-] )([yYnN]|[-+]?[0-9.]+[eE][-+]?[0-9]+|0o[0-7]+)$", text) or not isinstance(
        value, str
    )


@given(PATHS)
@examples
def test_texts_in_models_config(text):
    """Whatever a mount would allow one day."""
    written = text_format.write([("base_path", text)])
    assert text_format.read(written) == [("base_path", text)]
