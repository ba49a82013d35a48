"""The picture of the second moment that Theorem 2 rests on."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils.validation import check_array

from sklearn_rnnbound._validation import DTYPES, as_array, as_steps
from sklearn_rnnbound.evidence.spectrum import eigenvalues, min_eigenvalue
from sklearn_rnnbound.plotting._style import ERROR_COLOR, axes_for, legend_beside, log_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SpectrumDisplay"]


class SpectrumDisplay:
    """Eigenvalues of the uncentred second moment of flattened sequences.

    Theorem 2 divides by the smallest of them, lambda_min. Input noise of variance sigma^2 adds
    sigma^2 to each, which gives them a floor. Eigenvalues that are zero up to rounding are counted
    in the legend rather than drawn. Build it with :meth:`from_data`.

    Parameters
    ----------
    eigenvalues : ndarray of shape (L * d,)
        Eigenvalues in descending order, in squared units of the input; 0 where rounding leaves no
        digit.
    min_eigenvalue : float
        Lower bound on the smallest one, as :class:`.RNNBoundClassifier` estimates it.
    n_samples : int
        Number n of sequences.
    noise_std : float, default=0.0
        Standard deviation sigma of the input noise, in the units of the input.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the picture, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure of the picture, after :meth:`plot`.

    Examples
    --------
    >>> from sklearn_rnnbound.datasets import load_digit_sequences
    >>> from sklearn_rnnbound.plotting import SpectrumDisplay
    >>> X, y = load_digit_sequences()
    >>> display = SpectrumDisplay.from_data(X, noise_std=0.1)
    >>> display.eigenvalues.shape, int((display.eigenvalues == 0).sum())
    ((64,), 3)
    """

    def __init__(
        self,
        eigenvalues: np.ndarray,
        *,
        min_eigenvalue: float,
        n_samples: int,
        noise_std: float = 0.0,
    ) -> None:
        self.eigenvalues = eigenvalues
        self.min_eigenvalue = min_eigenvalue
        self.n_samples = n_samples
        self.noise_std = noise_std

    @classmethod
    @validate_params(
        {
            "noise_std": [Interval(Real, 0, None, closed="left")],
            "step_size": [Interval(Integral, 1, None, closed="left")],
        },
        prefer_skip_nested_validation=True,
    )
    def from_data(
        cls, X: Any, *, noise_std: float = 0.0, step_size: int = 1, ax: Axes | None = None
    ) -> SpectrumDisplay:
        """Draw the spectrum of a sample.

        Parameters
        ----------
        X : array-like of shape (n, L, d) or (n, L * step_size)
            Sequences.
        noise_std : float, default=0.0
            Standard deviation of the input noise, in the units of X.
        step_size : int, default=1
            Number of features per step of a 2-D X.
        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        Returns
        -------
        display : SpectrumDisplay
            The picture.

        Raises
        ------
        ValueError
            For an X that is not finite, empty, or not divisible into steps.
        """
        X = check_array(as_array(X), dtype=DTYPES, allow_nd=True, input_name="X")
        X = as_steps(X, step_size)
        display = cls(
            eigenvalues(X),
            min_eigenvalue=min_eigenvalue(X),
            n_samples=len(X),
            noise_std=float(noise_std),
        )
        return display.plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> SpectrumDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        Returns
        -------
        display : SpectrumDisplay
            This display, with `ax_` and `figure_` set.

        Raises
        ------
        ImportError
            Without matplotlib, which the extra ``plots`` brings.
        """
        ax = axes_for(ax)
        width = len(self.eigenvalues)
        numbers = np.arange(1, width + 1)
        inside = self.eigenvalues > 0
        drawn = [self.eigenvalues[inside]]
        ax.plot(
            numbers[inside],
            drawn[0],
            color="#0072b2",
            marker="o" if width <= 128 else None,
            markersize=4,
            label=r"eigenvalues $\lambda_k$",
        )
        if n_zeros := int((~inside).sum()):
            few = f"\n(n = {self.n_samples} < {width})" if self.n_samples < width else ""
            ax.plot([], [], linestyle="none", label=f"zero, not drawn: {n_zeros}{few}")
        if self.noise_std > 0:
            variance = self.noise_std**2
            drawn.append(self.eigenvalues + variance)
            label = r"under noise: $\lambda_k + \sigma^2$"
            ax.plot(numbers, drawn[-1], color="#d55e00", linestyle="--", label=label)
            drawn.append(_draw_level(ax, r"floor $\sigma^2$", variance, "0.3", ":"))
        name = r"$\lambda_{\min}$"
        drawn.append(_draw_level(ax, name, self.min_eigenvalue, ERROR_COLOR, "-."))
        heights = np.concatenate(drawn)
        if len(heights):
            low, high = heights.min(), heights.max()
            # Around heights that are equal matplotlib makes no room on a logarithmic axis.
            if high < 1.01 * low:
                ax.set_ylim(low / 2, high * 2)
            log_scale(ax)
        ax.set_xlabel(f"number k of the eigenvalue, of L · d = {width}")
        ax.set_ylabel("eigenvalue of the second moment\n(squared units of X, log scale)")
        legend_beside(ax)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


def _draw_level(ax: Axes, name: str, value: float, color: str, linestyle: str) -> np.ndarray:
    """Draw a horizontal line, or the mere label of a zero; the heights drawn."""
    label = f"{name} = {value:.4g}"
    if value > 0:
        ax.axhline(value, color=color, linestyle=linestyle, label=label)
        return np.array([value])
    ax.plot([], [], linestyle="none", label=label)
    return np.array([])
