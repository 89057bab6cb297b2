"""`python -m ckpt2saved`: the same as the command `ckpt2saved`."""

import os
import sys

if __name__ == "__main__":
    # Python has put the working directory first, where a file called tempfile.py would run in the place of the standard
    # library's. What --graph names is looked for there all the same.
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)) and sys.path:
        if os.path.abspath(sys.path[0]) == os.getcwd():
            del sys.path[0]

    from ckpt2saved.cli import main

    main(prog_name="ckpt2saved")
