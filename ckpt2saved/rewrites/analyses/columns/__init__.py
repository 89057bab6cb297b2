"""Which tensors of a padded batch hold, in a line's own columns, what they hold where the line is alone.

`analysis.py` follows the axes of tensors from the pictures to the outputs. `values.py` is what it knows of a tensor and
what has to be changed; `evaluation.py` applies the rule of an op, of which `rules/` has a module for each kind of op.
"""
