"""Adapters that PEFT has trained: LoRA in its variants, merged into a checkpoint's weights without reading them."""

from graphwright.frontend.adapters.files import CONFIG, Adapter, read_adapter
from graphwright.frontend.adapters.merging import merge_adapter, merge_stored
from graphwright.frontend.adapters.vocabulary import adapted_vocabulary

__all__ = ["CONFIG", "Adapter", "adapted_vocabulary", "merge_adapter", "merge_stored", "read_adapter"]
