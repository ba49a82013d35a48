"""The picture of how the margins of a sample are distributed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_rnnbound.certification.certifier import check_method
from sklearn_rnnbound.plotting._style import ERROR_COLOR, axes_for, legend_beside
from sklearn_rnnbound.selection.provenance import Provenance, bound_report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MarginDistributionDisplay"]


class MarginDistributionDisplay:
    """Cumulative distribution of margins, with the margin alpha of a bound marked.

    The margin M of a sample is the score of its label less the largest other score: M <= 0 is an
    error. A bound pays for the samples with a margin below alpha, through the indicator M <= alpha
    or through the ramp, which falls from 1 at 0 to 0 at alpha. Build it with
    :meth:`from_estimator`.

    Parameters
    ----------
    margins : ndarray of shape (n,)
        Margins of the sample as it is.
    noisy_margins : ndarray of shape (n,) or None, default=None
        Margins of the sample under the noise of the training.
    noise_std : float, default=0.0
        Standard deviation of this noise, in the units of the input.
    alpha : float or None, default=None
        Margin to mark.
    method : str, default=""
        The bound whose margin it is.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the picture, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure of the picture, after :meth:`plot`.

    Examples
    --------
    >>> from sklearn_rnnbound import RNNBoundClassifier
    >>> from sklearn_rnnbound.datasets import load_digit_sequences
    >>> from sklearn_rnnbound.plotting import MarginDistributionDisplay
    >>> X, y = load_digit_sequences()
    >>> clf = RNNBoundClassifier(noise_std=0.1, tol=0.1, min_eigenvalue=0.0).fit(X, y)
    >>> display = MarginDistributionDisplay.from_estimator(clf, margin=1.0)
    >>> display.alpha, display.margins.shape
    (1.0, (1797,))
    """

    def __init__(
        self,
        margins: np.ndarray,
        noisy_margins: np.ndarray | None = None,
        *,
        noise_std: float = 0.0,
        alpha: float | None = None,
        method: str = "",
    ) -> None:
        self.margins = margins
        self.noisy_margins = noisy_margins
        self.noise_std = noise_std
        self.alpha = alpha
        self.method = method

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        y: Any = None,
        *,
        method: str = "peeling",
        margin: float | None = None,
        ramp: bool = False,
        ax: Axes | None = None,
    ) -> MarginDistributionDisplay:
        """Draw the margins of a fitted classifier.

        Parameters
        ----------
        estimator : estimator
            A fitted classifier of ours, or a fitted pipeline or search that ends in one.
        X : array-like, default=None
            Data in place of the training data, such as test data; before the steps of a pipeline.
            They are taken as they are, without noise. None: the training data of `fit`, also under
            the noise of the training when there was noise.
        y : array-like of shape (n,), default=None
            Labels of X.
        method : str, default="peeling"
            Bound whose margin alpha is marked: a key of :data:`sklearn_rnnbound.BOUNDS`, or
            "paper".
        margin : float or None, default=None
            Margin alpha to mark in its place.
        ramp : bool, default=False
            Whether to draw the ramp, and to write its mean into the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        Returns
        -------
        display : MarginDistributionDisplay
            The picture.

        Raises
        ------
        ValueError
            For X without y, labels that `fit` has not seen, or a bound that needs other data.
        """
        if (X is None) != (y is None):
            raise ValueError("X and y go together: give both or none")
        report = bound_report(estimator, methods=check_method(method), margin=margin)
        alpha = report.bounds[0].margin
        provenance = Provenance.of(estimator)
        classifier = provenance.classifier
        certifier = classifier._certifier
        if X is None:
            sample = certifier.statistics
            display = cls(
                sample.clean.margins,
                None if sample.noisy is None else sample.noisy.margins,
                noise_std=certifier.setting.noise_std,
                alpha=alpha,
                method=method,
            )
        else:
            data = classifier._labelled(provenance.transform(X), y, known=True)
            display = cls(certifier.margins(*data), alpha=alpha, method=method)
        return display.plot(ramp=ramp, ax=ax)

    def plot(self, *, ramp: bool = False, ax: Axes | None = None) -> MarginDistributionDisplay:
        """Draw the picture.

        Parameters
        ----------
        ramp : bool, default=False
            Whether to draw the ramp, and to write its mean into the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on; None: a new figure.

        Returns
        -------
        display : MarginDistributionDisplay
            This display, with `ax_` and `figure_` set.

        Raises
        ------
        ImportError
            Without matplotlib, which the extra ``plots`` brings.
        """
        ax = axes_for(ax)
        samples = {"clean": self.margins}
        if self.noisy_margins is not None:
            samples[rf"under noise, $\sigma$ = {self.noise_std:g}"] = self.noisy_margins
        low, high = self._limits()
        for (name, margins), color, dash in zip(
            samples.items(), ("#0072b2", "#d55e00"), ("-", "--"), strict=False
        ):
            inner = np.sort(margins[np.isfinite(margins)])
            heights = (np.isneginf(margins).sum() + np.arange(len(inner) + 1)) / len(margins)
            ax.step(
                [low, *inner, high],
                [*heights, heights[-1]],
                where="post",
                color=color,
                linestyle=dash,
                linewidth=1.8,
                label="\n  ".join([f"{name}:", *self._shares(margins, ramp)]),
            )
        ax.axvline(0.0, color="black", linewidth=1.0, label="M = 0: errors to the left")
        if self.alpha is not None:
            of = f" of {self.method}" if self.method else ""
            hidden = "\n  (right of the picture)" if self.alpha > high else ""
            label = rf"margin $\alpha$ = {self.alpha:g}{of}{hidden}"
            ax.axvline(self.alpha, color=ERROR_COLOR, linestyle="-.", label=label)
        if ramp and self.alpha is not None:
            ends = [low, 0.0, self.alpha, max(high, self.alpha)]
            label = r"ramp $\Phi_\alpha(u)$"
            ax.plot(ends, [1.0, 1.0, 0.0, 0.0], ":", color="0.4", linewidth=1.8, label=label)
        ax.set_xlim(low, high)
        ax.set_ylim(-0.02, 1.02)
        ax.set_xlabel("margin u: score of the label less the largest other score")
        ax.set_ylabel("share of the samples with M ≤ u")
        legend_beside(ax)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _limits(self) -> tuple[float, float]:
        """Ends of the horizontal axis: the margins, 0, and alpha unless it is far away."""
        noisy = self.margins if self.noisy_margins is None else self.noisy_margins
        values = np.concatenate([self.margins, noisy, [0.0]])
        values = values[np.isfinite(values)]
        low, high = float(values.min()), float(values.max())
        width = high - low or 1.0
        if self.alpha is not None and self.alpha <= high + 2 * width:
            high = max(high, self.alpha)
        return low - 0.05 * width, high + 0.05 * width

    def _shares(self, margins: np.ndarray, ramp: bool) -> list[str]:
        """What the legend says of one sample."""
        shares = [f"M ≤ 0: {100 * np.mean(margins <= 0):.2f} %"]
        if self.alpha is not None:
            shares.append(rf"M ≤ $\alpha$: {100 * np.mean(margins <= self.alpha):.2f} %")
            if ramp:
                risk = np.mean(1.0 - np.clip(margins / self.alpha, 0.0, 1.0))
                shares.append(rf"mean ramp: {100 * risk:.2f} %")
        return shares
