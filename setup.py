"""What pyproject.toml can't say.

The signature files and the page that explain reads lie beside the package here, and inside it once installed. The
license is given as a table up to setuptools 76, the last for Python 3.7 among them, and as text only in later ones:
here all of them take it.
"""

import setuptools

if int(setuptools.__version__.split(".")[0]) < 68:
    raise SystemExit("setuptools 68 or newer is needed to read pyproject.toml: pip install --upgrade setuptools")

BESIDE = {"ckpt2saved.docs": "docs", "ckpt2saved.signatures": "signatures"}

setuptools.setup(
    license="Apache-2.0",
    packages=[*setuptools.find_packages(include=["ckpt2saved", "ckpt2saved.*"]), *BESIDE],
    package_dir=BESIDE,
)
