"""Writes the full-size checkpoints, crnn (34 MB) and ctpn with averages (143 MB), by the golden rule: DIRECTORY."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests.support import golden_rule
from tests.support.checkpoints import filled, write_checkpoint

for model in ("crnn", "ctpn"):
    values = filled(golden_rule.variables(model))
    write_checkpoint(Path(sys.argv[1]) / model, {name: golden_rule.np.asarray(v) for name, v in values.items()})
