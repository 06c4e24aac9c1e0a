"""The folder of `damage` can be imported from."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # for `damage`, which a script imports, too
