"""Archives that torch.export saved: screened as text, loaded by torch, imported."""

from graphwright.frontend.archive.capture import capture_archive, refuse_arguments

__all__ = ["capture_archive", "refuse_arguments"]
