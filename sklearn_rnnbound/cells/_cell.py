"""What a cell is: named weights, one step, and what was proved for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import torch

from sklearn_rnnbound.properties import Property

__all__ = [
    "CELLS",
    "Cell",
    "Unrolled",
    "Weight",
    "Weights",
    "normal",
    "register",
    "score_margins",
]

#: Every kind of cell by name.
CELLS: dict[str, type[Cell]] = {}

#: Weight matrices by name.
Weights = dict[str, torch.Tensor]


class Weight(NamedTuple):
    """Form of a weight matrix.

    Parameters
    ----------
    kind : {"input", "recurrent", "readout"}
        What it multiplies; constraints and bounds go by it.
    rows, columns : int
        Its shape.
    """

    kind: Literal["input", "recurrent", "readout"]
    rows: int
    columns: int


class Cell:
    """A recurrent cell without biases, read out at the last step.

    A new one defines `name`, `weights`, `initial_weights` and `step`, and declares the `properties`
    that were proved for it; everything else follows, and may be overridden by what is faster.

    Parameters
    ----------
    n_features : int
        Number d of features per step.
    hidden_size : int
        Number m of hidden units.
    n_classes : int
        Number k of scores.
    activation : {"relu", "tanh"}
        Activation of the hidden units.
    """

    name: ClassVar[str]

    def __init__(
        self, n_features: int, hidden_size: int, n_classes: int, activation: str = "relu"
    ) -> None:
        self.n_features = n_features
        self.hidden_size = hidden_size
        self.n_classes = n_classes
        self.activation = activation

    def __str__(self) -> str:
        return f"cell={self.name!r} with activation={self.activation!r}"

    # What a new cell defines

    @property
    def properties(self) -> frozenset[Property]:
        """What was proved for the cell; a bound that needs more does not apply."""
        return frozenset()

    @property
    def weights(self) -> dict[str, Weight]:
        """Its weight matrices, in the order of theta."""
        raise NotImplementedError

    def initial_weights(self, generator: torch.Generator) -> Weights:
        """Draw weights in float64."""
        raise NotImplementedError

    def step(self, weights: Mapping[str, torch.Tensor], state: Any, x: torch.Tensor) -> Any:
        """State after a step with inputs x (n, d)."""
        raise NotImplementedError

    # What follows

    def activate(self, g: torch.Tensor) -> torch.Tensor:
        """The activation of g, in its place."""
        return g.relu_() if self.activation == "relu" else g.tanh_()

    def initial_state(self, X: torch.Tensor) -> Any:
        """State before the first step of sequences X (n, L, d)."""
        return X.new_zeros(len(X), self.hidden_size)

    def read_out(self, weights: Mapping[str, torch.Tensor], state: Any) -> torch.Tensor:
        """Scores (n, k) of a state (n, m)."""
        return state @ weights["V"].T

    def scores(self, weights: Mapping[str, torch.Tensor], X: torch.Tensor) -> torch.Tensor:
        """Scores (n, k) of sequences X (n, L, d), step by step and differentiable."""
        state = self.initial_state(X)
        for x in X.unbind(1):
            state = self.step(weights, state, x)
        return self.read_out(weights, state)

    def infer(self, weights: Mapping[str, torch.Tensor], X: torch.Tensor) -> torch.Tensor:
        """Scores where no gradient is asked for."""
        return self.scores(weights, X)

    def theta_derivative(
        self, weights: Mapping[str, torch.Tensor], X: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (n, k) of X (n, L, d) and <theta, dy/dtheta>, their derivative along theta."""
        given = (dict(weights),)
        scores, derivative = torch.func.jvp(lambda theta: self.scores(theta, X), given, given)[:2]
        return scores, derivative

    def linearized_readout(
        self, weights: Mapping[str, torch.Tensor], n_steps: int
    ) -> torch.Tensor | None:
        """K of shape (L, d, k) with tau(theta)c = sum_t K_t^T x_t (paper, eq. 2), where it exists.

        One matrix then serves all samples: the activation is absent from tau.
        """
        return None

    def sensitivities(
        self, weights: Mapping[str, torch.Tensor], n_steps: int
    ) -> torch.Tensor | None:
        """How far an l-infinity change of the last steps can move two scores apart, if known.

        Entry (s, p, c) of the result (L + 1, k, k) is the most that ``y_p - y_c`` changes per unit
        of change of the last s steps.
        """
        return None

    def path_norm(self, weights: Mapping[str, torch.Tensor], n_steps: int) -> float:
        """Largest row sum of all paths from an input to a score; inf where it is not known."""
        return float("inf")

    def unrolled(self, like: torch.Tensor) -> Unrolled:
        """Passes of training, in the dtype and on the device of a tensor."""
        return Unrolled(self, like)

    @property
    def n_weights(self) -> int:
        """Number of weights."""
        return sum(weight.rows * weight.columns for weight in self.weights.values())

    def split(self, theta: torch.Tensor) -> Weights:
        """Weight matrices as views of theta (P,)."""
        forms = self.weights
        parts = theta.split([form.rows * form.columns for form in forms.values()])
        return {
            name: part.view(form.rows, form.columns)
            for (name, form), part in zip(forms.items(), parts, strict=True)
        }

    def of_kind(self, kind: str, weights: Mapping[str, Any]) -> list[Any]:
        """The weight matrices of a kind."""
        return [weights[name] for name, form in self.weights.items() if form.kind == kind]


class Unrolled:
    """A minibatch that is run through all steps and back, by autograd.

    Parameters
    ----------
    cell : Cell
        The cell.
    like : torch.Tensor
        A tensor of the dtype and on the device of the weights.

    Attributes
    ----------
    inputs : torch.Tensor of shape (L, b, d)
        The minibatch, to be filled after :meth:`resize` and before :meth:`forward`.
    """

    def __init__(self, cell: Cell, like: torch.Tensor) -> None:
        self.cell = cell
        self.inputs = like.new_empty(0, 0, 0)

    def resize(self, n_steps: int, n_rows: int) -> None:
        """Make room for a minibatch; what was there before is lost."""
        if self.inputs.shape[:2] != (n_steps, n_rows):
            self.inputs = self.inputs.new_empty(n_steps, n_rows, self.cell.n_features)

    def forward(self, theta: torch.Tensor) -> torch.Tensor:
        """Scores (b, k)."""
        with torch.enable_grad():
            self._theta = theta.detach().requires_grad_()
            weights = self.cell.split(self._theta)
            self._scores = self.cell.scores(weights, self.inputs.transpose(0, 1))
        return self._scores.detach()

    def backward(
        self, theta: torch.Tensor, score_gradient: torch.Tensor, gradient: torch.Tensor
    ) -> None:
        """Write the derivative by theta into `gradient` (P,), after a pass forward with theta.

        `score_gradient` (b, k) is the derivative of the loss by the scores.
        """
        gradient.copy_(torch.autograd.grad(self._scores, self._theta, score_gradient)[0])


def register(cell: type[Cell]) -> type[Cell]:
    """Class decorator that puts a kind of cell into :data:`CELLS`."""
    CELLS[cell.name] = cell
    return cell


def normal(form: Weight, generator: torch.Generator) -> torch.Tensor:
    """Normal weights in float64, of variance 1 / columns: what goes in comes out as large."""
    draws = torch.randn(form.rows, form.columns, generator=generator, dtype=torch.float64)
    return draws / form.columns**0.5


def score_margins(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """M(x, y) = y_y - max_{y' != y} y_{y'} of shape (n,), for scores (n, k) and classes (n,)."""
    label = targets[:, None].to(scores.device)
    others = scores.scatter(1, label, -torch.inf).amax(1)
    return scores.gather(1, label)[:, 0] - others
