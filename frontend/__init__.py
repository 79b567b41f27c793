"""The frontend: nn.Module or checkpoint directory in, captured program out."""

from graphwright.frontend.capture import capture, compute_dtype
from graphwright.frontend.checkpoint import checkpoint_context
from graphwright.frontend.errors import CheckpointError
from graphwright.frontend.finite import check_finite

__all__ = ["CheckpointError", "capture", "check_finite", "checkpoint_context", "compute_dtype"]
