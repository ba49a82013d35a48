"""Small networks for tests: weights, inputs, plain loops in torch, and a cell from outside."""

import torch

from sklearn_rnnbound.cells import Cell, Weight, normal

#: Sequences, steps, features, hidden units and classes.
N, L, D, M, K = 7, 5, 3, 6, 4


class Toy(Cell):
    """``h_t = act(U x_t + W act(R h_{t-1}))``: two recurrent matrices, and nothing proved."""

    name = "toy"

    @property
    def weights(self):
        d, m, k = self.n_features, self.hidden_size, self.n_classes
        return {
            "U": Weight("input", m, d),
            "R": Weight("recurrent", m, m),
            "W": Weight("recurrent", m, m),
            "V": Weight("readout", k, m),
        }

    def initial_weights(self, generator):
        return {name: normal(form, generator) for name, form in self.weights.items()}

    def step(self, weights, state, x):
        inner = self.activate(state @ weights["R"].T)
        return self.activate(x @ weights["U"].T + inner @ weights["W"].T)


def make_weights(seed=0, dtype=torch.float64, names="UWV"):
    """Normal weights of an Elman network, or of the toy with names="URWV"."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"U": (M, D), "R": (M, M), "W": (M, M), "V": (K, M)}
    return {
        name: torch.randn(shapes[name], generator=generator, dtype=torch.float64).to(dtype)
        for name in names
    }


def make_inputs(seed=1, dtype=torch.float64, n_steps=L):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, n_steps, D, generator=generator, dtype=torch.float64).to(dtype)


def flat(weights):
    """All weights in a row."""
    return torch.cat([weight.flatten() for weight in weights.values()])


def act(g, activation):
    return g.relu() if activation == "relu" else g.tanh()


def plain_scores(weights, X, activation):
    """Scores by a plain loop for autograd, of the toy where there are two recurrent matrices."""
    h = X.new_zeros(len(X), len(weights["W"]))
    for x in X.unbind(1):
        inner = act(h @ weights["R"].T, activation) if "R" in weights else h
        h = act(x @ weights["U"].T + inner @ weights["W"].T, activation)
    return h @ weights["V"].T


def plain_gradient(weights, X, score_gradient, activation):
    """Scores, and the derivative by all weights of their products with `score_gradient`."""
    variables = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    scores = plain_scores(variables, X, activation)
    gradients = torch.autograd.grad((scores * score_gradient).sum(), list(variables.values()))
    return scores.detach(), torch.cat([gradient.flatten() for gradient in gradients])


def there_and_back(run, theta, X, score_gradient):
    """The same by a cell's passes of training."""
    run.resize(X.shape[1], len(X))
    run.inputs.copy_(X.transpose(0, 1))
    scores, gradient = run.forward(theta), torch.full_like(theta, torch.nan)
    run.backward(theta, score_gradient, gradient)
    return scores, gradient
