"""How ckpt2saved is installed; TensorFlow comes from an extra or from the training environment, never by itself."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
VERSION = [line for line in (HERE / "ckpt2saved" / "__init__.py").read_text().splitlines() if "__version__" in line][0]

# TensorFlow 1.x, the only one for Python 3.7 and older models, does not start with today's protobuf and numpy.
FOR_TENSORFLOW_1 = ["protobuf>=3.9,<3.21; python_version < '3.8'", "numpy<1.19; python_version < '3.8'"]

EXTRAS = {
    "cpu": [
        "tensorflow>=1.14,<1.16; python_version < '3.8'",
        "tensorflow-cpu>=2.2,<3; python_version >= '3.8' and sys_platform != 'darwin'",
        "tensorflow>=2.2,<3; python_version >= '3.8' and sys_platform == 'darwin'",
    ]
    + FOR_TENSORFLOW_1,
    "gpu": [
        "tensorflow-gpu>=1.14,<1.16; python_version < '3.8'",
        "tensorflow>=2.2,<3; python_version == '3.8'",
        "tensorflow[and-cuda]>=2.14,<3; python_version >= '3.9'",
    ]
    + FOR_TENSORFLOW_1,
    # tensorflow-serving-api would require the package tensorflow, and so replace the one that is there.
    "serving": ["grpcio>=1.24,<2"],
    "plot": ["matplotlib>=3,<4"],
    "evaluate": ["pillow>=8,<14", "rapidfuzz>=3,<4"],
    # Of examples/gateway.
    "gateway": ["flask>=2.2,<4", "grpcio>=1.24,<2", "gunicorn>=20.1,<28", "pillow>=8,<14"],
    # What `make docs` builds the site with; ruff formats the signatures.
    "docs": [
        "mkdocs>=1.6,<2; python_version >= '3.10'",
        "mkdocs-material>=9.5,<10; python_version >= '3.10'",
        "mkdocstrings[python]>=0.27,<2; python_version >= '3.10'",
        "ruff>=0.14,<1",
    ],
    "test": [
        "check-jsonschema>=0.30,<1; python_version >= '3.9'",
        "flask>=2.2,<4",
        "grpcio>=1.24,<2",
        "gunicorn>=20.1,<28",
        "kubernetes-validate>=1.27,<2; python_version >= '3.9'",
        "matplotlib>=3,<4",
        "opencv-python-headless>=4,<6",
        "pillow>=8,<14",
        "pytest>=7,<10",
        "pytest-cov>=4,<8",
        "pytest-xdist>=3,<4",
        "rapidfuzz>=3,<4",
        "selenium>=4.11,<5; python_version >= '3.9'",
        "setuptools>=40.8",
        "wheel>=0.30",
    ],
    "lint": [
        "mypy>=1.18,<3",
        "pre-commit>=3,<5",
        "ruff>=0.14,<1",
        "types-grpcio",
        "types-protobuf",
        "types-PyYAML",
        "vermin>=1.6,<2",
    ],
}

setup(
    name="ckpt2saved",
    version=VERSION.split('"')[1],
    description="Publishes a TensorFlow checkpoint of an OCR network as a SavedModel version that TF Serving hot-loads",
    license="Apache-2.0",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.7",
    # The signature files lie beside the package in the repository, and inside it once installed.
    packages=[*find_packages(include=["ckpt2saved", "ckpt2saved.*"]), "ckpt2saved.signatures"],
    package_dir={"ckpt2saved.signatures": "signatures"},
    package_data={"ckpt2saved.graph": ["ops.json.gz"], "ckpt2saved.signatures": ["*.yaml"]},
    install_requires=[
        "click>=8.0,<9",
        "importlib_metadata>=4,<7; python_version < '3.8'",
        "numpy",
        "packaging>=20,<30",
        "PyYAML>=5.4,<7",
        "rich>=10,<16",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["ckpt2saved = ckpt2saved.cli:main"]},
    classifiers=["License :: OSI Approved :: Apache Software License", "Programming Language :: Python :: 3"]
    + [f"Programming Language :: Python :: 3.{minor}" for minor in range(7, 14)],
)
