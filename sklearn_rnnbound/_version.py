"""The version: the build, saved files and checkpoints read it here."""

__all__ = ["__version__"]

__version__ = "0.1.0"
