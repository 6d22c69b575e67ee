"""Configuration: what a file and the environment say, and where each value came from."""

from howdah.config.config import Config, Setting
from howdah.config.keys import Said

__all__ = ["Config", "Said", "Setting"]
