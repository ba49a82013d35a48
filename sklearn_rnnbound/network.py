"""The recurrent network of the paper and the forward recursions on it.

The model is ``g_t = U x_t + W h_{t-1}``, ``h_t = act(g_t)``, ``y = V h_L`` without biases and with
``h_0 = 0``; shapes are U (m, d), W (m, m), V (k, m) and x (L, d).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from sklearn_rnnbound.noise import double_blocks, input_chunks

__all__ = [
    "FisherRaoSums",
    "RecurrentNetwork",
    "Unrolled",
    "Weights",
    "fisher_rao_norm",
    "initial_weights",
    "linearized_readout",
    "network_scores",
    "score_margins",
    "sensitivities",
    "split_weights",
    "step_coefficients",
    "theta_derivative",
    "torch_threads",
]


#: U (m, d), W (m, m) and V (k, m).
Weights = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class RecurrentNetwork(torch.nn.Module):
    """Recurrent network without biases, read out at the last step.

    Its one parameter is theta = (vec U, vec W, vec V), so that clipping and the optimizer's step
    are single operations.

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
        self.theta = torch.nn.Parameter(torch.cat([U.flatten(), W.flatten(), V.flatten()]))
        self.shape = U.shape[1], V.shape[1], V.shape[0]
        self.activation = activation

    @property
    def weights(self) -> Weights:
        """U (m, d), W (m, m) and V (k, m): views of the parameter, without gradient."""
        return split_weights(self.theta.data, self.shape)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Scores y of shape (n, k) for sequences X of shape (n, L, d)."""
        if torch.is_grad_enabled():
            # torch leaves `apply` without types.
            call: Callable[..., torch.Tensor] = _Scores.apply
            return call(self.theta, X, self.shape, self.activation)
        return _last_scores(self.weights, X, self.activation)


def split_weights(theta: torch.Tensor, shape: tuple[int, int, int]) -> Weights:
    """U (..., m, d), W (..., m, m) and V (..., k, m) as views of theta (..., P), for (d, m, k)."""
    d, m, k = shape
    U, W, V = theta.split([m * d, m * m, k * m], dim=-1)
    return U.unflatten(-1, (m, d)), W.unflatten(-1, (m, m)), V.unflatten(-1, (k, m))


def _activate_(g: torch.Tensor, activation: str) -> torch.Tensor:
    return g.relu_() if activation == "relu" else g.tanh_()


def _slope(h: torch.Tensor, activation: str, out: torch.Tensor) -> torch.Tensor:
    """act'(g) as a function of h = act(g)."""
    if activation == "relu":
        return torch.sign(h, out=out)
    return torch.mul(h, h, out=out).neg_().add_(1)


class Unrolled:
    """A minibatch of every network of a stack, run through all steps and back.

    The hidden states of all steps are kept. Products that need no recursion, with U on the way in
    and for the gradients of U and W on the way back, are one matrix product each over all steps.
    Memory is kept from one minibatch to the next: new memory costs as much as the arithmetic.

    Parameters
    ----------
    shape : tuple of int
        (d, m, k).
    activation : {"relu", "tanh"}
        Activation of the hidden units.
    like : torch.Tensor
        A tensor of the dtype and on the device of the weights.

    Attributes
    ----------
    inputs : torch.Tensor of shape (G, L, b, d)
        The minibatch of each of the G networks, to be filled before a pass forward.
    """

    def __init__(self, shape: tuple[int, int, int], activation: str, like: torch.Tensor) -> None:
        self.shape = shape
        self.activation = activation
        self._memory = [like.new_empty(0) for _ in range(4)]
        self.inputs = like.new_empty(0, 0, 0, 0)

    def resize(self, n_networks: int, n_steps: int, n_rows: int) -> None:
        """Make room for minibatches of `n_rows` sequences; what was there before is lost."""
        d, m, _ = self.shape
        if self.inputs.shape[:3] == (n_networks, n_steps, n_rows):
            return
        states = n_networks, n_steps, n_rows, m
        shapes = (*states[:3], d), states, states, (n_networks, n_rows, m)
        for place, shape in enumerate(shapes):
            if self._memory[place].numel() < math.prod(shape):
                self._memory[place] = self._memory[place].new_empty(math.prod(shape))
        self.inputs, self._hidden, self._errors, self._product = (
            memory[: math.prod(shape)].view(shape)
            for memory, shape in zip(self._memory, shapes, strict=True)
        )

    def forward(self, weights: Weights) -> torch.Tensor:
        """Scores (G, b, k) by weights U (G, m, d), W (G, m, m) and V (G, k, m)."""
        U, W, V = weights
        torch.bmm(self.inputs.flatten(1, 2), U.mT, out=self._hidden.flatten(1, 2))
        first, *others = self._hidden.unbind(1)
        h = _activate_(first, self.activation)
        for g in others:
            h = _activate_(g.add_(torch.bmm(h, W.mT, out=self._product)), self.activation)
        return torch.bmm(h, V.mT)

    def backward(
        self, weights: Weights, score_gradient: torch.Tensor, gradient: Weights
    ) -> torch.Tensor:
        """Gradient of a loss after a pass forward.

        Parameters
        ----------
        weights : tuple of torch.Tensor
            The weights of the pass forward.
        score_gradient : torch.Tensor of shape (G, b, k)
            Derivative of the loss by the scores.
        gradient : tuple of torch.Tensor
            Overwritten by the derivatives of the loss by U, W and V.

        Returns
        -------
        errors : torch.Tensor of shape (G, L, b, m)
            Derivative of the loss by ``g_t = U x_t + W h_{t-1}``.
        """
        _, W, V = weights
        dU, dW, dV = gradient
        torch.bmm(score_gradient.mT, self._hidden[:, -1], out=dV)
        *others, last = _slope(self._hidden, self.activation, out=self._errors).unbind(1)
        error = last.mul_(torch.bmm(score_gradient, V, out=self._product))
        for slope in reversed(others):
            error = slope.mul_(torch.bmm(error, W, out=self._product))
        torch.bmm(self._errors.flatten(1, 2).mT, self.inputs.flatten(1, 2), out=dU)
        later, earlier = self._errors[:, 1:].flatten(1, 2), self._hidden[:, :-1].flatten(1, 2)
        torch.bmm(later.mT, earlier, out=dW)
        return self._errors


class _Scores(torch.autograd.Function):
    """:class:`Unrolled` for autograd: one network, memory of its own."""

    @staticmethod
    def forward(
        ctx: Any, theta: torch.Tensor, X: torch.Tensor, shape: tuple[int, int, int], activation: str
    ) -> torch.Tensor:
        if X.dtype != theta.dtype:
            raise TypeError(f"the sequences are {X.dtype} and the weights {theta.dtype}")
        run = Unrolled(shape, activation, theta)
        run.resize(1, X.shape[1], len(X))
        run.inputs[0].copy_(X.transpose(0, 1))
        ctx.run = run
        ctx.save_for_backward(theta)
        return run.forward(split_weights(theta[None], shape))[0]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, score_gradient: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, None, None]:
        (theta,) = ctx.saved_tensors
        gradient = torch.empty_like(theta)
        weights, gradients = (split_weights(t[None], ctx.run.shape) for t in (theta, gradient))
        errors = ctx.run.backward(weights, score_gradient[None], gradients)
        dX = (errors[0] @ weights[0][0]).transpose(0, 1) if ctx.needs_input_grad[1] else None
        return gradient, dX, None, None


@torch.no_grad()
def _last_scores(weights: Weights, X: torch.Tensor, activation: str) -> torch.Tensor:
    """Scores (n, k) where no gradient is asked for: two buffers take turns over the steps."""
    U, W, V = weights
    h, g = X.new_empty(2, len(X), len(W))
    first, *others = X.unbind(1)
    _activate_(torch.mm(first, U.T, out=h), activation)
    for x in others:
        torch.mm(x, U.T, out=g)
        h, g = _activate_(g.addmm_(h, W.T), activation), h
    return h @ V.T


def network_scores(network: RecurrentNetwork, X: torch.Tensor) -> torch.Tensor:
    """Scores (n, k) of X (n, L, d), computed in blocks of rows without gradients."""
    device = network.theta.device
    with torch.inference_mode():
        return torch.cat([network(chunk.to(device)) for chunk in input_chunks(X)])


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
    sums, n = None, 0
    for X in chunks:
        sums = sums or FisherRaoSums(U, W, V, X.shape[1])
        for values in double_blocks(X.to(U.device)):
            sums.add(values)
        n += len(X)
    if sums is None:
        raise ValueError("the norm of no sample at all")
    return sums.norms(n)[0]


class FisherRaoSums:
    """Sums over a sample of what ||theta||_fs is the root mean square of (paper, eq. 2).

    Parameters
    ----------
    U, W, V : torch.Tensor of shapes (m, d), (m, m), (k, m)
        Weights.
    n_steps : int
        Number of steps L.
    """

    def __init__(self, U: torch.Tensor, W: torch.Tensor, V: torch.Tensor, n_steps: int) -> None:
        self._n_classes = len(V)
        rows = V.double()
        if len(V) == 2:
            rows = torch.cat([rows, rows[1:] - rows[:1]])
        # In this order, and not X K, BLAS is fast for the few columns of K.
        K = linearized_readout(U.double(), W.double(), rows, n_steps)
        self._K = K.flatten(0, 1).T.contiguous()
        self._squares = self._K.new_zeros(2)

    def add(self, values: torch.Tensor) -> None:
        """Add a block of the sample, float64 of shape (rows, L, d)."""
        tau = (self._K @ values.flatten(1).T).square_()
        self._squares[0] += tau[: self._n_classes].amax(0).sum()
        self._squares[1] += tau[-1].sum()

    def norms(self, n: int) -> tuple[float, float | None]:
        """||theta||_fs of n sequences; for two classes also that of the score y_1 - y_0."""
        # An overflow may have left infinity less infinity.
        roots = (self._squares / n).sqrt().nan_to_num(nan=torch.inf, posinf=torch.inf)
        norm, scalar = roots.tolist()
        return norm, scalar if self._n_classes == 2 else None


@torch.no_grad()
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
    n, m = len(X), len(W)
    # One product with W serves both recursions.
    states, products = X.new_zeros(2 * n, m), X.new_empty(2 * n, m)
    h, s = states.split(n)
    g, pulled = products.split(n)
    for x in X.unbind(1):
        torch.mm(states, W.T, out=products)
        pulled += g.addmm_(x, U.T)
        _activate_(h.copy_(g), activation)
        _slope(h, activation, out=s).mul_(pulled)
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


_setting_threads = threading.Lock()


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Run a block with `count` torch threads and restore the number that was set before.

    Other Python threads keep the numbers that they have. Those that start meanwhile get the number
    that they would have got without the block, if the caller was not the only thread before it.

    Parameters
    ----------
    count : int or None
        Number of torch threads; None: the number that is set.

    Yields
    ------
    None
        Nothing; the number is that of the calling thread.
    """
    with _setting_threads:
        before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    # Without other threads nobody is disturbed, and starting one takes longer than small fits do.
    alone = threading.active_count() == 1
    set_threads = torch.set_num_threads if alone else _set_own_threads
    try:
        set_threads(count)
        yield
    finally:
        set_threads(before)


def _set_own_threads(count: int) -> None:
    """Set the number of torch threads of the calling thread.

    torch keeps a number for every thread, but the last one that any of them has set is what a
    thread begins with that uses torch for the first time.
    """
    asked, done = threading.Event(), threading.Event()

    def keep_default() -> None:
        default = torch.get_num_threads()
        asked.set()
        done.wait()
        torch.set_num_threads(default)

    keeper = threading.Thread(target=keep_default)
    with _setting_threads:
        try:
            keeper.start()
            asked.wait()
            torch.set_num_threads(count)
        finally:
            done.set()
            keeper.join()
