"""Drawn eigenvalues, against those that the data were made of."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from pictures import closed_figures as closed_figures
from pictures import flat, legend_of, line_of, points_of

from sklearn_rnnbound.datasets import make_gaussian_sequences
from sklearn_rnnbound.plotting import SpectrumDisplay


def test_spectrum_is_the_prescribed_one():
    prescribed = np.geomspace(1e4, 1e-4, 12)
    rng = np.random.default_rng(0)
    left = np.linalg.qr(rng.normal(size=(50, 12)))[0]
    right = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    X = (np.sqrt(50) * left * np.sqrt(prescribed) @ right.T).reshape(50, 4, 3)
    figure, ax = plt.subplots()
    display = SpectrumDisplay.from_data(X, noise_std=0.5, ax=ax)
    assert (display.ax_, display.figure_) == (ax, figure)
    numbers, drawn = points_of(ax, "eigenvalues")
    np.testing.assert_array_equal(numbers, np.arange(1, 13))
    np.testing.assert_allclose(drawn, prescribed, rtol=1e-6)
    np.testing.assert_allclose(points_of(ax, "under noise")[1], prescribed + 0.25, rtol=1e-6)
    assert line_of(ax, "floor").get_ydata()[0] == 0.25
    marked = line_of(ax, r"$\lambda_{\min}$")
    assert marked.get_ydata()[0] == pytest.approx(1e-4, rel=1e-6)
    assert marked.get_label().endswith("= 0.0001")
    assert ax.get_yscale() == "log"
    assert "squared units of X" in ax.get_ylabel()
    assert "12" in ax.get_xlabel()
    two_dimensional = SpectrumDisplay.from_data(flat(X).tolist(), step_size=3)
    np.testing.assert_array_equal(two_dimensional.eigenvalues, display.eigenvalues)
    assert not any("floor" in text for text in legend_of(two_dimensional.ax_))


def test_fewer_samples_than_coordinates():
    X = make_gaussian_sequences(7, 4, 3, random_state=0).data.astype(np.float32)
    display = SpectrumDisplay.from_data(X, noise_std=0.1)
    singular = np.linalg.svd(flat(X).astype(np.float64), compute_uv=False)
    np.testing.assert_allclose(points_of(display.ax_, "eigenvalues")[1], singular**2 / 7)
    assert "zero, not drawn: 5\n(n = 7 < 12)" in legend_of(display.ax_)
    assert r"$\lambda_{\min}$ = 0" in legend_of(display.ax_)
    np.testing.assert_allclose(points_of(display.ax_, "under noise")[1][7:], 0.01)
    assert display.ax_.get_ylim()[0] > 1e-4


def test_zeros_are_counted():
    X = make_gaussian_sequences(90, 4, 3, random_state=0).data
    X[:, 1, 2] = 0
    expected = np.linalg.svd(flat(X), compute_uv=False) ** 2 / 90
    display = SpectrumDisplay.from_data(X)
    np.testing.assert_allclose(display.eigenvalues[:11], expected[:11], rtol=1e-9)
    assert display.eigenvalues[11] == 0
    assert "zero, not drawn: 1" in legend_of(display.ax_)
    nothing = SpectrumDisplay.from_data(np.zeros((5, 2, 2)))
    assert "zero, not drawn: 4" in legend_of(nothing.ax_)
    nothing.figure_.canvas.draw()


def test_equal_eigenvalues_get_room():
    display = SpectrumDisplay.from_data(np.vstack([np.eye(4), -np.eye(4)]))
    np.testing.assert_allclose(display.eigenvalues, 0.25)
    assert display.ax_.get_ylim() == pytest.approx((0.125, 0.5))


def test_chunks_of_rows_make_no_difference(monkeypatch):
    X = make_gaussian_sequences(90, 4, 3, random_state=0).data
    whole = SpectrumDisplay.from_data(X).eigenvalues
    monkeypatch.setattr("sklearn_rnnbound.evidence.spectrum._CHUNK_ROWS", 7)
    np.testing.assert_allclose(SpectrumDisplay.from_data(X).eigenvalues, whole, rtol=1e-12)


@pytest.mark.parametrize(
    ("X", "options", "message"),
    [
        (np.ones((6, 4)), {"step_size": 3}, "4 columns, which is not a multiple of step_size=3"),
        (np.ones((6, 4)), {"noise_std": -1.0}, r"'noise_std' parameter of .*from_data must be"),
        (np.full((6, 4), np.nan), {}, "X contains NaN"),
        ([[[1.0]], [[1.0], [2.0]]], {}, "different lengths"),
    ],
)
def test_what_is_wrong_is_named(X, options, message):
    with pytest.raises(ValueError, match=message):
        SpectrumDisplay.from_data(X, **options)
