"""Pictures of bounds, in the manner of scikit-learn's displays."""

from sklearn_rnnbound.plotting.curve import BoundCurveDisplay
from sklearn_rnnbound.plotting.decomposition import BoundDecompositionDisplay
from sklearn_rnnbound.plotting.margins import MarginDistributionDisplay
from sklearn_rnnbound.plotting.spectrum import SpectrumDisplay

__all__ = [
    "BoundCurveDisplay",
    "BoundDecompositionDisplay",
    "MarginDistributionDisplay",
    "SpectrumDisplay",
]
