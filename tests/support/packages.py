"""Installed packages as pip writes them."""

from __future__ import annotations


def install(site, name, version, *, requires=(), files=("tensorflow/__init__.py",), build_info=None):
    """A dist-info as pip writes it, and TensorFlow's file about its build."""
    record = site / f"{name.replace('-', '_')}-{version}.dist-info"
    record.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", "Name: " + name, "Version: " + version]
    lines += ["Requires-Dist: " + text for text in requires]
    (record / "METADATA").write_text("\n".join(lines) + "\n\nRequires-Dist: this is the description\n")
    (record / "RECORD").write_text("".join(f"{file},sha256=x,1\n" for file in files))
    if build_info:
        path = site / "tensorflow" / "python" / "platform" / "build_info.py"
        path.parent.mkdir(parents=True)
        path.write_text(build_info)
    return site


def with_needs(site, protobuf="3.20.3", numpy="1.18.5"):
    install(site, "protobuf", protobuf, files=())
    install(site, "numpy", numpy, files=())
    return site
