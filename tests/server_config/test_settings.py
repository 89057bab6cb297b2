"""Settings of a server's process: flags and environment for each release, and their JSON content."""

from __future__ import annotations

import json

import pytest

from ckpt2saved.compatibility.image import find_image
from ckpt2saved.server_config.batching import Batching
from ckpt2saved.server_config.settings import BFLOAT16, ServerSettings

WHOLE = ServerSettings(
    intra_op=4,
    inter_op=2,
    onednn=False,
    batching=Batching(max_batch_size=16, threads=2, allowed_batch_sizes=(1, 4, 16)),
    mixed_precision=BFLOAT16,
)
THREADS = ("--tensorflow_intra_op_parallelism=4", "--tensorflow_inter_op_parallelism=2")


@pytest.mark.parametrize(
    ("release", "flags", "environment"),
    [
        ("1.14", THREADS, {}),
        ("2.4", THREADS, {}),
        ("2.5", THREADS, {"TF_ENABLE_ONEDNN_OPTS": "0"}),
        ("2.14", THREADS, {"TF_ENABLE_ONEDNN_OPTS": "0"}),
        ("2.15", THREADS + ("--mixed_precision=bfloat16",), {"TF_ENABLE_ONEDNN_OPTS": "0"}),
    ],
)
def test_a_release_gets_the_flags_and_variables_that_it_has(release, flags, environment):
    image = find_image(release)
    assert WHOLE.flags(image) == flags
    assert WHOLE.environment(image) == environment


def test_nothing_is_set_where_the_server_decides():
    image = find_image("2.20")
    assert ServerSettings().flags(image) == ()
    assert ServerSettings().environment(image) == {} == ServerSettings().environment()
    assert ServerSettings(onednn=True).environment() == {"TF_ENABLE_ONEDNN_OPTS": "1"}


@pytest.mark.parametrize("settings", [WHOLE, ServerSettings()])
def test_the_json_content_makes_the_same_settings(settings):
    content = json.loads(json.dumps(settings.as_content()))
    assert sorted(content) == ["batching", "inter_op", "intra_op", "mixed_precision", "onednn"]
    assert ServerSettings.from_content(content) == settings


@pytest.mark.parametrize(
    ("feature", "first", "last_without"),
    [
        ("has_onednn", "2.5", "2.4"),
        ("has_onednn_on", "2.9", "2.8"),
        ("has_batching_per_model", "2.11.0", "2.10"),
        ("has_mixed_precision", "2.15.0", "2.14"),
        ("has_health_service", "2.15.1", "2.15.0"),
    ],
)
def test_a_feature_begins_with_a_release(feature, first, last_without):
    assert getattr(find_image(first), feature)
    assert not getattr(find_image(last_without), feature)
