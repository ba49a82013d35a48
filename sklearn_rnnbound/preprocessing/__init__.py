"""Raw data to sequences."""

from sklearn_rnnbound.preprocessing.series import SequencePadder, SequenceScaler
from sklearn_rnnbound.preprocessing.text import WordVectorEncoder

__all__ = ["SequencePadder", "SequenceScaler", "WordVectorEncoder"]
