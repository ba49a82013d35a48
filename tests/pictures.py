"""What tests of pictures share: figures are closed, and lines are found by their labels."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sklearn_rnnbound import Bound, BoundReport, Term


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def flat(X):
    return X.reshape(len(X), -1)


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def line_of(ax, label):
    """The one line whose label begins so."""
    (line,) = [line for line in ax.get_lines() if str(line.get_label()).startswith(label)]
    return line


def points_of(ax, label):
    line = line_of(ax, label)
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def made_report(value, train, test, *, name="peeling", kind="certified", complexity=0.25):
    """A report of one bound and a mere order."""
    terms = (Term("empirical_risk", value - complexity, "n^0"), Term("complexity", complexity, "?"))
    bound = Bound(name, value, kind, terms, 1.0, 0.05, (), value >= 1, "")
    order = Term("order", 1e9, "?")
    mere = Bound("zhang2018", 1e9, "order_only", (order,), 1.0, None, (), True, "")
    return BoundReport((bound, mere), train, test, 0.05)
