"""Where the JSON Schemas of ckpt2saved/cli/schemas are made; `python tools/make_schemas.py` writes them."""
