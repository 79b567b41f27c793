"""Reads what `graphwright opt --json` printed."""

from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import from_json

from graphwright.errors import UsageError
from graphwright.files.standard_input import standard_input
from graphwright.reporting.pipeline_report import FORMAT_VERSION, PipelineReport
from graphwright.runtime.files import TEXT, read_text
from graphwright.runtime.validation import first_finding


def read_run(path: str) -> PipelineReport:
    """The run in the file `path`, or on standard input for `-`. Raises UsageError for anything else."""
    name = "<stdin>" if path == "-" else path
    advice = "give what `graphwright opt --json` printed"
    try:
        content = standard_input() if path == "-" else read_text(path, TEXT, pipes=True)
        data: Any = from_json(content)
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{name} is not JSON, or is cut short ({error}); {advice}") from None
    if not isinstance(data, dict) or "format_version" not in data:
        raise UsageError(f"{name} is not a run of passes; {advice}")
    version = cast("dict[str, Any]", data)["format_version"]
    if version != FORMAT_VERSION:
        raise UsageError(
            f"{name} has format version {version!r}, and this graphwright reads {FORMAT_VERSION}; print it again"
        )
    try:
        return PipelineReport.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"{name} is damaged: {first_finding(error, PipelineReport)}; {advice}") from None
