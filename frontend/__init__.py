"""The frontend: nn.Module or checkpoint directory in, captured program out."""

from graphwright.frontend.capture import capture
from graphwright.frontend.errors import CheckpointError
from graphwright.frontend.finite import check_finite

__all__ = ["CheckpointError", "capture", "check_finite"]
