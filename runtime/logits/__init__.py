"""What changes logits before a token is chosen, and what cuts a distribution before one is drawn."""

from graphwright.runtime.logits.chain import RowFacts, processors
from graphwright.runtime.logits.history import History, Logits, LogitsProcessor

__all__ = ["History", "Logits", "LogitsProcessor", "RowFacts", "processors"]
