"""The recurrent network of the paper and the forward recursions on it.

The model is ``g_t = U x_t + W h_{t-1}``, ``h_t = act(g_t)``, ``y = V h_L`` without biases and with
``h_0 = 0``; shapes are U (m, d), W (m, m), V (k, m) and x (L, d).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from sklearn_rnnbound.noise import input_chunks

__all__ = [
    "RecurrentNetwork",
    "Weights",
    "fisher_rao_norm",
    "initial_weights",
    "linearized_readout",
    "network_scores",
    "score_margins",
    "sensitivities",
    "step_coefficients",
    "theta_derivative",
    "torch_threads",
]


#: U (m, d), W (m, m) and V (k, m).
Weights = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class RecurrentNetwork(torch.nn.Module):
    """Recurrent network without biases, read out at the last step.

    Parameters
    ----------
    U, W, V : torch.Tensor of shapes (m, d), (m, m), (k, m)
        Initial weights, copied; they set the dtype and the device.
    activation : {"relu", "tanh"}
        Activation of the hidden units.
    """

    def __init__(
        self, U: torch.Tensor, W: torch.Tensor, V: torch.Tensor, activation: str = "relu"
    ) -> None:
        super().__init__()
        # Made on the meta device, so that no default initialisation draws from torch's global
        # generator, and then given memory.
        with torch.device("meta"):
            self.recurrence = torch.nn.RNN(
                U.shape[1], U.shape[0], nonlinearity=activation, bias=False, batch_first=True
            )
            self.readout = torch.nn.Linear(V.shape[1], V.shape[0], bias=False)
        self.to(U.dtype).to_empty(device=U.device)
        self.load_weights((U, W, V))

    @property
    def weights(self) -> Weights:
        """U (m, d), W (m, m) and V (k, m): the parameters themselves, without gradient."""
        U, W, V = (parameter.data for parameter in self.parameters())
        return U, W, V

    def load_weights(self, weights: Weights) -> None:
        """Copy values into U, W and V, in place."""
        for parameter, value in zip(self.weights, weights, strict=True):
            parameter.copy_(value)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Scores y of shape (n, k) for sequences X of shape (n, L, d)."""
        _, last_hidden = self.recurrence(X)
        return self.readout(last_hidden[0])


def network_scores(network: RecurrentNetwork, X: torch.Tensor) -> torch.Tensor:
    """Scores (n, k) of X (n, L, d), computed in blocks of rows without gradients."""
    device = network.readout.weight.device
    with torch.inference_mode():
        chunks = input_chunks(X, network.recurrence.hidden_size)
        return torch.cat([network(chunk.to(device)) for chunk in chunks])


def score_margins(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """M(x, y) = y_y - max_{y' != y} y_{y'} of shape (n,), for scores (n, k) and classes (n,)."""
    label = targets[:, None].to(scores.device)
    others = scores.scatter(1, label, -torch.inf).amax(1)
    return scores.gather(1, label)[:, 0] - others


def initial_weights(
    n_features: int, hidden_size: int, n_classes: int, generator: torch.Generator
) -> Weights:
    """Draw U, W and V in float64.

    Every fourth hidden unit gets an identity recurrence, which carries its state and its gradient
    through hundreds of steps (Le, Jaitly & Hinton 2015) and shrinks without mixing when W is
    projected on a constraint set; a random orthogonal matrix connects the other units.
    """

    def normal(rows: int, columns: int) -> torch.Tensor:
        draws = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
        return draws / columns**0.5

    U, V = normal(hidden_size, n_features), normal(n_classes, hidden_size)
    W = torch.eye(hidden_size, dtype=torch.float64)
    mixing = torch.arange(hidden_size) % 4 != 0
    size = int(mixing.sum())
    if size:
        W[mixing.outer(mixing)] = torch.linalg.qr(normal(size, size))[0].flatten()
    return U, W, V


def step_coefficients(n_steps: int) -> torch.Tensor:
    """c_t = L + 2 - t for t = 1, ..., L (paper, Lemma 1), in float64."""
    return torch.arange(n_steps + 1, 1, -1, dtype=torch.float64)


def linearized_readout(
    U: torch.Tensor, W: torch.Tensor, V: torch.Tensor, n_steps: int
) -> torch.Tensor:
    """K of shape (L, d, k) with tau(theta)c = sum_t K_t^T x_t, K_t^T = c_t V W^(L-t) U.

    One matrix then serves all samples: the activation is absent from tau (paper, eq. 2).
    """
    coefficients = step_coefficients(n_steps).to(U)
    blocks = [V]
    for _ in range(n_steps - 1):
        blocks.append(blocks[-1] @ W)
    return torch.stack([c * (A @ U).T for c, A in zip(coefficients, reversed(blocks), strict=True)])


def fisher_rao_norm(
    U: torch.Tensor, W: torch.Tensor, V: torch.Tensor, chunks: Iterable[torch.Tensor]
) -> float:
    """||theta||_fs, the root of the mean of max_i (tau(theta)c)_i^2, in float64 (paper, eq. 2).

    Parameters
    ----------
    U, W, V : torch.Tensor of shapes (m, d), (m, m), (k, m)
        Weights.
    chunks : iterable of torch.Tensor of shape (rows, L, d)
        The sample, in blocks of rows.

    Returns
    -------
    norm : float
        The norm, in the units of the scores.
    """
    K = None
    total, n = 0.0, 0
    for X in chunks:
        if K is None:
            K = linearized_readout(U.double(), W.double(), V.double(), X.shape[1]).flatten(0, 1)
        tau = X.double().flatten(1) @ K
        total += float(tau.square().amax(1).sum())
        n += len(X)
    return math.sqrt(total / n)


def theta_derivative(
    U: torch.Tensor, W: torch.Tensor, V: torch.Tensor, X: torch.Tensor, activation: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores y and the derivative <theta, dy/dtheta> by one forward recursion.

    For relu the derivative is eta(theta)c of Lemma 1, since relu'(g) g = relu(g) turns the
    recursion ``s_t = act'(g_t) (W s_{t-1} + W h_{t-1} + U x_t)``, ``V (s_L + h_L)`` into the
    lemma's sum over steps. The form used here also holds for tanh.

    Parameters
    ----------
    U, W, V : torch.Tensor of shapes (m, d), (m, m), (k, m)
        Weights.
    X : torch.Tensor of shape (n, L, d)
        Sequences.
    activation : {"relu", "tanh"}
        Activation of the hidden units.

    Returns
    -------
    scores, derivative : torch.Tensor of shape (n, k)
        y and <theta, dy/dtheta>.
    """
    h = X.new_zeros(X.shape[0], W.shape[0])
    s = torch.zeros_like(h)
    for x in X.unbind(1):
        g = x @ U.T + h @ W.T
        pulled = g + s @ W.T
        if activation == "relu":
            h, s = torch.relu(g), (g > 0) * pulled
        else:
            h = torch.tanh(g)
            s = (1 - h * h) * pulled
    return h @ V.T, (s + h) @ V.T


def sensitivities(U: torch.Tensor, W: torch.Tensor, V: torch.Tensor, n_steps: int) -> torch.Tensor:
    """How far an l-infinity change of the last steps can move two scores apart (paper, Lemma 8).

    Parameters
    ----------
    U, W, V : torch.Tensor of shapes (m, d), (m, m), (k, m)
        Weights.
    n_steps : int
        Number of steps L.

    Returns
    -------
    reach : torch.Tensor of shape (L + 1, k, k)
        Entry (s, p, c) is the l1 norm of ``|V_p - V_c| |W|^r |U|``, summed over the powers r < s:
        the change of ``y_p - y_c`` per unit of change of the last s steps.
    """
    differences = (V[:, None] - V[None]).abs()
    paths = U.abs().sum(1)
    total = torch.zeros_like(paths)
    reach = [differences @ total]
    for _ in range(n_steps):
        total = total + paths
        reach.append(differences @ total)
        paths = W.abs() @ paths
    return torch.stack(reach)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run a block with `count` torch threads and restore the number that was set before."""
    before = torch.get_num_threads()
    if count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
