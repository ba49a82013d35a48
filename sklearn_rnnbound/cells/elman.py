"""The network of the paper: ``h_t = act(U x_t + W h_{t-1})``, ``y = V h_L``, with ``h_0 = 0``.

Shapes are U (m, d), W (m, m), V (k, m) and x (L, d).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from sklearn_rnnbound.cells._cell import Cell, Unrolled, Weight, Weights, normal, register
from sklearn_rnnbound.properties import (
    HOMOGENEOUS,
    INTERVAL,
    PLAIN,
    ROW_LIPSCHITZ,
    UNROLLABLE,
    Property,
)

__all__ = ["Elman", "step_coefficients"]


@register
class Elman(Cell):
    """The recurrent network of the paper, with relu or tanh."""

    name = "elman"

    @property
    def properties(self) -> frozenset[Property]:
        """Both activations are 1-Lipschitz and map 0 to 0; relu is homogeneous as well."""
        proved = {
            "relu": {HOMOGENEOUS, INTERVAL, PLAIN, ROW_LIPSCHITZ, UNROLLABLE},
            "tanh": {INTERVAL, PLAIN, ROW_LIPSCHITZ},
        }
        return frozenset(proved.get(self.activation, ()))

    def __init_subclass__(cls) -> None:
        raise TypeError("what is proved and fast here is so for this step alone: inherit from Cell")

    @property
    def weights(self) -> dict[str, Weight]:
        """U, W and V."""
        d, m, k = self.n_features, self.hidden_size, self.n_classes
        return {
            "U": Weight("input", m, d),
            "W": Weight("recurrent", m, m),
            "V": Weight("readout", k, m),
        }

    def initial_weights(self, generator: torch.Generator) -> Weights:
        """Draw U, W and V in float64.

        Every fourth hidden unit gets an identity recurrence, which carries its state and its
        gradient through hundreds of steps (Le, Jaitly & Hinton 2015) and shrinks without mixing
        when W is projected on a constraint set; a random orthogonal matrix connects the others.
        """
        m = self.hidden_size
        U, V = (normal(self.weights[name], generator) for name in "UV")
        W = torch.eye(m, dtype=torch.float64)
        mixing = torch.arange(m) % 4 != 0
        size = int(mixing.sum())
        if size:
            square = normal(Weight("recurrent", size, size), generator)
            W[mixing.outer(mixing)] = torch.linalg.qr(square)[0].flatten()
        return {"U": U, "W": W, "V": V}

    def step(
        self, weights: Mapping[str, torch.Tensor], state: torch.Tensor, x: torch.Tensor
    ) -> torch.Tensor:
        """Hidden state (n, m) after a step."""
        return self.activate((x @ weights["U"].T).add_(state @ weights["W"].T))

    # Faster than step by step

    @torch.no_grad()
    def infer(self, weights: Mapping[str, torch.Tensor], X: torch.Tensor) -> torch.Tensor:
        """Scores where no gradient is asked for: two buffers take turns over the steps."""
        U, W, V = weights["U"], weights["W"], weights["V"]
        h, g = X.new_empty(2, len(X), len(W))
        first, *others = X.unbind(1)
        self.activate(torch.mm(first, U.T, out=h))
        for x in others:
            torch.mm(x, U.T, out=g)
            h, g = self.activate(g.addmm_(h, W.T)), h
        return h @ V.T

    @torch.no_grad()
    def theta_derivative(
        self, weights: Mapping[str, torch.Tensor], X: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores y and <theta, dy/dtheta> by one forward recursion.

        For relu the derivative is eta(theta)c of Lemma 1, since relu'(g) g = relu(g) turns the
        recursion ``s_t = act'(g_t) (W s_{t-1} + W h_{t-1} + U x_t)``, ``V (s_L + h_L)`` into the
        lemma's sum over steps. The form used here also holds for tanh.
        """
        U, W, V = weights["U"], weights["W"], weights["V"]
        n, m = len(X), len(W)
        # One product with W serves both recursions.
        states, products = X.new_zeros(2 * n, m), X.new_empty(2 * n, m)
        h, s = states.split(n)
        g, pulled = products.split(n)
        for x in X.unbind(1):
            torch.mm(states, W.T, out=products)
            pulled += g.addmm_(x, U.T)
            self.activate(h.copy_(g))
            self._slope(h, out=s).mul_(pulled)
        return h @ V.T, (s + h) @ V.T

    def unrolled(self, like: torch.Tensor) -> Unrolled:
        """Passes of training with products over all steps at once."""
        return _ElmanUnrolled(self, like)

    def _slope(self, h: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """act'(g) as a function of h = act(g)."""
        if self.activation == "relu":
            return torch.sign(h, out=out)
        return torch.mul(h, h, out=out).neg_().add_(1)

    # What the theory of this cell speaks of

    def linearized_readout(self, weights: Mapping[str, torch.Tensor], n_steps: int) -> torch.Tensor:
        """K of shape (L, d, k) with tau(theta)c = sum_t K_t^T x_t, K_t^T = c_t V W^(L-t) U."""
        U, W, V = weights["U"], weights["W"], weights["V"]
        coefficients = step_coefficients(n_steps).to(U)
        blocks = [V]
        for _ in range(n_steps - 1):
            blocks.append(blocks[-1] @ W)
        return torch.stack(
            [c * (A @ U).T for c, A in zip(coefficients, reversed(blocks), strict=True)]
        )

    def sensitivities(self, weights: Mapping[str, torch.Tensor], n_steps: int) -> torch.Tensor:
        """Sums over the powers r < s of the l1 norms of ``|V_p - V_c| |W|^r |U|`` (Lemma 8)."""
        U, W, V = weights["U"], weights["W"], weights["V"]
        differences = (V[:, None] - V[None]).abs()
        paths = U.abs().sum(1)
        total = torch.zeros_like(paths)
        reach = [differences @ total]
        for _ in range(n_steps):
            total = total + paths
            reach.append(differences @ total)
            paths = W.abs() @ paths
        return torch.stack(reach)

    def path_norm(self, weights: Mapping[str, torch.Tensor], n_steps: int) -> float:
        """Largest row sum of ``sum_t |V| |W|^(L-t) |U|``; for two classes that of V_1 - V_0."""
        U, W, V = (weights[name].double() for name in "UWV")
        rows = (V[1:] - V[:1] if len(V) == 2 else V).abs()
        first = paths = U.abs().sum(1)
        for _ in range(n_steps - 1):
            paths = first + W.abs() @ paths
        # inf times zero on the way: nothing is known then.
        return float((rows @ paths).nan_to_num(nan=torch.inf, posinf=torch.inf).max())


class _ElmanUnrolled(Unrolled):
    """All hidden states are kept, and products that need no recursion are taken over all steps.

    These are the products with U on the way in and the gradients of U and W on the way back.
    Memory is kept from one minibatch to the next: new memory costs as much as the arithmetic.
    Products are batches of one, which torch multiplies by a loop of its own where they are small.
    """

    cell: Elman

    def __init__(self, cell: Elman, like: torch.Tensor) -> None:
        super().__init__(cell, like)
        self._memory = [like.new_empty(0) for _ in range(4)]

    def resize(self, n_steps: int, n_rows: int) -> None:
        if self.inputs.shape[:2] == (n_steps, n_rows):
            return
        d, m = self.cell.n_features, self.cell.hidden_size
        states = n_steps, 1, n_rows, m
        shapes = (n_steps, n_rows, d), states, states, (1, n_rows, m)
        for place, shape in enumerate(shapes):
            if self._memory[place].numel() < math.prod(shape):
                self._memory[place] = self._memory[place].new_empty(math.prod(shape))
        self.inputs, self._hidden, self._errors, self._product = (
            memory[: math.prod(shape)].view(shape)
            for memory, shape in zip(self._memory, shapes, strict=True)
        )

    def forward(self, theta: torch.Tensor) -> torch.Tensor:
        U, W, V = (weight[None] for weight in self.cell.split(theta).values())
        activate = self.cell.activate
        torch.bmm(_all_steps(self.inputs), U.mT, out=_all_steps(self._hidden))
        h, *others = self._hidden.unbind(0)
        activate(h)
        for g in others:
            h = activate(g.add_(torch.bmm(h, W.mT, out=self._product)))
        return torch.bmm(h, V.mT)[0]

    def backward(
        self, theta: torch.Tensor, score_gradient: torch.Tensor, gradient: torch.Tensor
    ) -> None:
        _, W, V = (weight[None] for weight in self.cell.split(theta).values())
        dU, dW, dV = (part[None] for part in self.cell.split(gradient).values())
        torch.bmm(score_gradient.T[None], self._hidden[-1], out=dV)
        *others, error = self.cell._slope(self._hidden, out=self._errors).unbind(0)
        error.mul_(torch.bmm(score_gradient[None], V, out=self._product))
        for slope in reversed(others):
            error = slope.mul_(torch.bmm(error, W, out=self._product))
        torch.bmm(_all_steps(self._errors).mT, _all_steps(self.inputs), out=dU)
        torch.bmm(_all_steps(self._errors[1:]).mT, _all_steps(self._hidden[:-1]), out=dW)


def _all_steps(values: torch.Tensor) -> torch.Tensor:
    """The rows of all steps, of shape (1, L b, width)."""
    return values.view(1, -1, values.shape[-1])


def step_coefficients(n_steps: int) -> torch.Tensor:
    """c_t = L + 2 - t for t = 1, ..., L (paper, Lemma 1), in float64."""
    return torch.arange(n_steps + 1, 1, -1, dtype=torch.float64)
