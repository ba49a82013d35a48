"""The paper's quantities, written out slowly with explicit loops from the formulas alone."""

import math
from functools import cache
from itertools import pairwise

import numpy as np
from scipy import integrate

# ---- the ReLU network and its linearised form -------------------------------------------------


def outputs(U, W, V, X):
    """y = V h_L, h_t = relu(U x_t + W h_{t-1}), one row per sample; X is (n, L, d)."""
    rows = []
    for x in X:
        h = [0.0] * len(W)
        for x_t in x:
            g = []
            for a in range(len(W)):
                s = sum(U[a][j] * x_t[j] for j in range(len(x_t)))
                s += sum(W[a][b] * h[b] for b in range(len(W)))
                g.append(s)
            h = [max(s, 0.0) for s in g]
        rows.append([sum(v[a] * h[a] for a in range(len(h))) for v in V])
    return np.array(rows)


def true_margins(Y, labels):
    """y_y minus the largest other output."""
    return np.array(
        [y[c] - max(y[o] for o in range(len(y)) if o != c) for y, c in zip(Y, labels, strict=True)]
    )


def fisher_rao(U, W, V, X):
    """Root of the mean over samples of max_i (sum_t (L+2-t) V W^(L-t) U x_t)_i squared."""
    total = 0.0
    for x in X:
        L = len(x)
        tau = np.zeros(len(V))
        for t in range(1, L + 1):
            tau += (L + 2 - t) * (V @ np.linalg.matrix_power(W, L - t) @ U @ x[t - 1])
        total += max(v**2 for v in tau)
    return math.sqrt(total / len(X))


def row_norm(A):
    return max(sum(abs(a) for a in row) for row in A)


def sign_norms(A):
    """The largest sums of the positive and of the negative parts of a row."""
    positive = max(sum(a for a in row if a > 0) for row in A)
    negative = max(sum(-a for a in row if a < 0) for row in A)
    return positive, negative


# ---- sums over the inputs ----------------------------------------------------------------------


def frobenius(X):
    total = 0.0
    for x in X:
        for x_t in x:
            for v in x_t:
                total += v * v
    return math.sqrt(total)


def column_sums(X):
    """Sum over the samples of |x_itj|, shape (L, d)."""
    n, L, d = X.shape
    return np.array([[sum(abs(X[i, t, j]) for i in range(n)) for j in range(d)] for t in range(L)])


def column_squares(X):
    """Sum over the samples of x_itj squared, shape (L, d)."""
    n, L, d = X.shape
    return np.array([[sum(X[i, t, j] ** 2 for i in range(n)) for j in range(d)] for t in range(L)])


def one_norm(X):
    """The largest sum over the samples of |x_itj|."""
    return max(v for row in column_sums(X) for v in row)


def min_eigenvalue(X):
    """Smallest eigenvalue of the uncentred second moment of the flattened sequences."""
    n = len(X)
    moment = np.zeros((X[0].size, X[0].size))
    for x in X:
        moment += np.outer(x.ravel(), x.ravel()) / n
    return max(float(np.linalg.eigvalsh(moment)[0]), 0.0)


# ---- risks -------------------------------------------------------------------------------------


def ramp_risk(margins, alpha):
    total = 0.0
    for u in margins:
        if u <= 0:
            total += 1.0
        elif u < alpha:
            total += 1.0 - u / alpha
    return total / len(margins)


def indicator_risk(margins, alpha):
    return sum(1 for u in margins if u <= alpha) / len(margins)


# ---- noise: moments of the largest of d absolute entries, by numerical integration ---------------


def absolute_cdf(name, sigma):
    """P(|e| <= x) of one entry of standard deviation sigma."""
    if name == "gaussian":
        return lambda x: math.erf(x / (sigma * math.sqrt(2)))
    if name == "uniform":
        return lambda x: min(x / (sigma * math.sqrt(3)), 1.0)
    if name == "laplace":
        return lambda x: -math.expm1(-x * math.sqrt(2) / sigma)
    raise ValueError(name)


@cache
def max_moment(name, sigma, d, power):
    """E (max_j |e_j|)^power = integral of power x^(power-1) P(max > x)."""
    cdf = absolute_cdf(name, sigma)
    top = sigma * math.sqrt(3) if name == "uniform" else 60 * sigma
    edges = np.linspace(0, top, 9 if name == "uniform" else 61)
    return sum(
        integrate.quad(
            lambda x: power * x ** (power - 1) * (1 - cdf(x) ** d),
            a,
            b,
            epsabs=1e-13 * sigma**power,
        )[0]
        for a, b in pairwise(edges)
    )


def expected_max(name, sigma, d):
    """The E ||e_t||_inf of Theorem 3 and Remark 4: Gaussian noise by the paper's upper bound."""
    if name == "gaussian":
        return sigma * math.sqrt(2 * math.log(2 * d))
    return max_moment(name, sigma, d, 1)


def root_second_moment_max(name, sigma, d):
    """The root of E ||e_t||_inf^2, for Remark 6 under noise."""
    if name == "gaussian":
        return sigma * math.sqrt(2 * (1 + math.log(d)))
    return math.sqrt(max_moment(name, sigma, d, 2))


# ---- Theorem 1 and Remark 6 ----------------------------------------------------------------------


def power_sum(beta_w, length, weight):
    """Sum over s < length of weight(s) beta_w^s; inf where it overflows."""
    total = 0.0
    for s in range(length):
        power = 1.0
        for _ in range(s):
            power *= beta_w
        total += weight(s) * power
    return total


def lambda_sum(beta_w, length):
    return power_sum(beta_w, length, lambda s: s + 1)


def lambda_closed_form(beta_w, length):
    b, L = beta_w, length
    return (1 - b**L) / (1 - b) * (1 / (1 - b) - L * b**L / (1 - b**L))


def linear_part(r, norm, eigenvalue, n):
    if eigenvalue <= 0:
        return math.inf
    return r * norm / (2 * n) * eigenvalue**-0.5


def difference_part(X, beta_u, beta_w, beta_v):
    n, L, _ = X.shape
    return beta_v * beta_u * one_norm(X) * lambda_sum(beta_w, L) / n


def remark6(B, beta_u, beta_w, beta_v, length):
    """The largest possible r over the class when every entry is at most B in absolute value."""
    return beta_v * beta_u * B * power_sum(beta_w, length, lambda s: s + 2)


def remark6_noisy(B, noise, sigma, d, beta_u, beta_w, beta_v, length):
    reach = B + root_second_moment_max(noise, sigma, d)
    return beta_v * beta_u * reach * power_sum(beta_w, length, lambda s: s + 2)


def confidence(delta, n):
    return 3 * math.sqrt(math.log(2 / delta) / (2 * n))


# ---- Theorems 2 and 3, term by term --------------------------------------------------------------


def theorem2(X, margins, k, alpha, r, eigenvalue, betas, delta):
    """Terms of Theorem 2 for fixed quantities; betas = (beta_u, beta_w, beta_v)."""
    n = len(X)
    return {
        "empirical_risk": indicator_risk(margins, alpha),
        "linear": 4 * k / alpha * linear_part(r, frobenius(X), eigenvalue, n),
        "difference": 4 * k / alpha * difference_part(X, *betas),
        "confidence": confidence(delta, n),
    }


def theorem3(X_noisy, noisy_margins, k, alpha, r, eigenvalue, betas, delta, noise, sigma):
    """Terms of Theorem 3; X_noisy is X + X_eps and the margins are those of the noisy inputs."""
    n, L, d = X_noisy.shape
    beta_u, beta_w, beta_v = betas
    shift = sum(
        beta_v * beta_u * beta_w ** (L - t) * expected_max(noise, sigma, d) for t in range(1, L + 1)
    )
    linear = linear_part(r, frobenius(X_noisy), eigenvalue + sigma**2, n)
    return {
        "empirical_risk": ramp_risk(noisy_margins, alpha),
        "linear": 4 * k / alpha * linear,
        "difference": 4 * k / alpha * difference_part(X_noisy, *betas),
        "noise": 2 / alpha * shift,
        "confidence": confidence(delta, n),
    }


def total(terms):
    return sum(terms.values())


# ---- the grid of bins and the union bound --------------------------------------------------------


def exponents(count):
    """0, 1, -1, 2, -2, ...: the exponent of bin number 1, 2, 3, ..."""
    found = []
    for step in range(count):
        found += [0] if step == 0 else [step, -step]
    return found[:count]


def share(exponent):
    """1 / (j (j + 1)) where j is the bin's number."""
    j = exponents(2 * abs(exponent) + 1).index(exponent) + 1
    return 1 / (j * (j + 1))


def smallest_bin(value):
    """Exponent of the smallest edge 2^e that is not below the value."""
    e = 0
    while 2.0**e < value:
        e += 1
    while 2.0 ** (e - 1) >= value:
        e -= 1
    return e


def union(fixed, trained):
    """Norms to use and their common share of delta; an entry of fixed that is None is open."""
    norms, common = [], 1.0
    for beta, value in zip(fixed, trained, strict=True):
        if beta is None:
            e = smallest_bin(value)
            norms.append(2.0**e)
            common *= share(e)
        else:
            norms.append(sum(beta) if isinstance(beta, tuple) else float(beta))
    return tuple(norms), common


def best_value(terms_at, delta, candidates):
    """The least total over alpha = 2^e, each at its share of delta."""
    return min(total(terms_at(2.0**e, delta * share(e))) for e in candidates)
