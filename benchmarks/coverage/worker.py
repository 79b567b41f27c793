"""One architecture in a process of its own: `python -m benchmarks.coverage.worker CLASS DIALECT FILE`.

Writes its row to the file, as JSON, and the stage that begins to standard output, a line each.
"""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

from benchmarks.coverage.measure import measure


def main(architecture: str, dialect: str, file: str) -> None:
    warnings.simplefilter("ignore")
    Path(file).write_text(json.dumps(asdict(measure(architecture, dialect))), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
