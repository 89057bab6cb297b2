"""A server of S3 that answers what no store does: through the driver, every answer is a listing or a message."""

from __future__ import annotations

import pytest

from ckpt2saved.errors import VersionError
from ckpt2saved.versions.bases import base_at
from tests.support.hostile_server import OK, answering

HEAD = '<?xml version="1.0"?>'
BOMB = "".join(f'<!ENTITY {name} "{f"&{before};" * 20}">' for before, name in zip("abcdefgh", "bcdefghi"))


def listing(key="m/7/saved_model.pb", size="5", time="2024-01-01T00:00:00.000Z"):
    entry = f"<Contents><Key>{key}</Key><LastModified>{time}</LastModified><ETag>x</ETag><Size>{size}</Size></Contents>"
    return f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><KeyCount>1</KeyCount>{entry}</ListBucketResult>'


@pytest.fixture
def listed(monkeypatch):
    """The versions that are listed below a URL of a server with this answer."""
    pytest.importorskip("s3fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    def listed(content):
        content = content.encode()
        head = b"Content-Type: application/xml\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(content)
        with answering(OK + head + content) as address:
            monkeypatch.setenv("AWS_ENDPOINT_URL", address)
            return base_at("s3://bucket/m").listing(deep=True)

    return listed


@pytest.mark.parametrize(
    "content",
    [
        HEAD + listing(size="9" * 5000),
        HEAD + listing(size="9" * 30),
        HEAD + listing(size="-5"),
        HEAD + listing(time="x"),
        HEAD + "<ListBucketResult><Contents><Size>5</Size></Contents></ListBucketResult>",
        f'{HEAD}<!DOCTYPE l [<!ENTITY a "{"a" * 50}">{BOMB}]>{listing("m/7/&i;")}',
        f'{HEAD}<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]>{listing("m/7/&x;")}',
    ],
    ids=["digits", "large", "negative", "time", "no key", "bomb", "file"],
)
def test_answers_that_end_in_a_message(listed, content):
    """In one line, and without what a document reads from elsewhere."""
    with pytest.raises(VersionError, match="^s3://bucket/m") as caught:
        listed(content)
    assert "\n" not in str(caught.value) and "root:" not in str(caught.value) and len(str(caught.value)) < 1000


def test_answers_that_are_listings(listed):
    """Names that lead elsewhere are a problem of their version, names outside of the URL none at all."""
    assert list(listed(HEAD + listing("/etc/passwd"))) == [] and list(listed(HEAD + listing("other/7/a"))) == []
    for key in ("m/7/../../x", "m/7/a&#x7f;&#x9b;b"):
        (version,) = listed(HEAD + listing(key, time="0001-01-01T00:00:00+14:00"))
        assert "can't be a file of a directory" in version.problems[-1].text
        assert version.problems[-1].text.isprintable() and version.modified.year == 1970
