"""pydantic's findings as one line."""

from pydantic import ValidationError


def first_finding(error: ValidationError) -> str:
    """The first finding, with its place, and how many more there are."""
    findings = error.errors(include_url=False, include_context=False, include_input=False)
    place = ".".join(str(part) for part in findings[0]["loc"])
    message = findings[0]["msg"].removeprefix("Value error, ")
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return (f"{place}: {message}" if place else message) + more
