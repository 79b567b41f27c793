"""The JSON schema of a run of passes.

`python -m graphwright.reporting.pipeline_schema > docs/pipeline-report.schema.json` writes the committed file.
"""

import json
import sys
from typing import Any

from graphwright.reporting.pipeline_report import PipelineReport


def schema() -> dict[str, Any]:
    """What `graphwright opt --json` prints, as JSON Schema 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **PipelineReport.model_json_schema(mode="serialization"),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")
