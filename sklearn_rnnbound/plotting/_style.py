"""What the pictures share: matplotlib, styles that differ in greyscale, labels with units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn_rnnbound.bounds import BOUNDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "ERROR_COLOR",
    "HIGHEST",
    "axes_for",
    "check_kind",
    "curve_style",
    "legend_beside",
    "log_scale",
    "parameter_label",
    "pyplot",
    "term_style",
]

ERROR_COLOR = "#b10026"
#: What is larger counts as infinite: ticks would leave the range of float64.
HIGHEST = 1e150
# Light to dark with a hatch each, so that the terms differ in greyscale too.
_TERMS = {
    "empirical_risk": ("#f0f0f0", ""),
    "linear": ("#9ecae1", "//"),
    "difference": ("#3182bd", "\\\\"),
    "complexity": ("#756bb1", "xx"),
    "kl": ("#bcbddc", "oo"),
    "noise": ("#fdae6b", ".."),
    "monte_carlo": ("#fdd0a2", "||"),
    "confidence": ("#636363", ""),
}
_OTHER_TERM = ("#bdbdbd", "xx")
# Markers tell the curves apart without colour.
_COLORS = (
    *("#0072b2", "#d55e00", "#009e73", "#aa4499", "#882255", "#3aa0d8"),
    *("#a6761d", "#999933", "#666666", "#117733", "#332288", "#cc3311"),
)
_MARKERS = "osD^vP*X<>dh"
_LINES = ("-", "--", "-.")
_PARAMETERS = {
    "beta_u": r"radius $\beta_U$ of the rows of U",
    "beta_v": r"radius $\beta_V$ of the rows of V",
    "beta_w": r"radius $\beta_W$ of the rows of W",
    "box_width": "relative width of the box",
    "delta": r"$\delta$",
    "fisher_rao_max": "radius r of the Fisher-Rao norm",
    "gradient_clip_norm": "largest norm of the gradient",
    "gradient_clip_value": "largest entry of the gradient",
    "hidden_size": "hidden units m",
    "input_bound": "input bound B (units of the input)",
    "margin": r"margin $\alpha$ (units of the scores)",
    "max_iter": "largest number of epochs",
    "min_eigenvalue": r"$\lambda_{\min}$ (squared units of the input)",
    "noise_std": r"input noise $\sigma$ (units of the input)",
}


def pyplot() -> Any:
    """The module matplotlib.pyplot; ImportError, which names the extra, when it is missing."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "pictures need matplotlib: pip install 'sklearn-rnnbound[plots]'"
        ) from error
    return plt


def axes_for(ax: Axes | None, width: float = 8.0, height: float = 4.4) -> Axes:
    """These axes, or those of a new figure that is so large."""
    if ax is not None:
        return ax
    return pyplot().subplots(figsize=(width, height), layout="constrained")[1]


def check_kind(name: str, value: object, kind: type, hint: str) -> None:
    """Raise TypeError, with the hint, for an argument of another type."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be of type {kind.__name__}, {hint}; got {value!r:.80}")


def term_style(name: str) -> tuple[str, str]:
    """Colour and hatch of a term."""
    return _TERMS.get(name, _OTHER_TERM)


def curve_style(name: str) -> dict[str, str]:
    """Colour, marker and line of a bound: the same in every picture."""
    number = list(BOUNDS).index(name) if name in BOUNDS else len(BOUNDS)
    return {
        "color": _COLORS[number % len(_COLORS)],
        # Shifted after every round, so that one more bound looks like none before it.
        "marker": _MARKERS[(number + number // len(_COLORS)) % len(_MARKERS)],
        "linestyle": _LINES[number % len(_LINES)],
    }


def parameter_label(name: str) -> str:
    """A parameter as readers see it: its symbol and unit where they are known."""
    last = name.rpartition("__")[2]
    return _PARAMETERS.get(last, last.replace("_", " "))


def log_scale(ax: Axes) -> None:
    """Make the vertical axis of a finished drawing logarithmic, with plain numbers at its ticks."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    ax.set_yscale("log")
    low, high = ax.get_ylim()
    # Powers of ten alone are too few for a short axis.
    if high < 10 * low:
        ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    elif high < 100 * low:
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())


def legend_beside(ax: Axes) -> None:
    """Legend to the right of the axes, where it hides no data."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
