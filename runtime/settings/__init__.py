"""What a model's `generation_config.json` says, and what becomes of each of its fields."""

from graphwright.runtime.settings.model_settings import GENERATION_FILE, ModelSettings, read_settings
from graphwright.runtime.settings.speech import Beginning, SpeechSettings

__all__ = ["GENERATION_FILE", "Beginning", "ModelSettings", "SpeechSettings", "read_settings"]
