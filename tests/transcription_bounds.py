"""The bounds beyond the paper, written down a second time: slowly, by loops.

Taken from the written theory alone. Of the package only the records that tests fill are imported;
speed, overflow and validation are of no interest: tests feed small cases.
Conventions: ``x`` is ``(n, L, d)``, a step ``t`` runs from 1 to L, ``beta_u``,
``beta_w``, ``beta_v`` are radii of the largest l1 norm of a row.
"""

import math
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np
import transcription as paper
from scipy.optimize import minimize_scalar

from sklearn_rnnbound.bounds._sample import InputSums, NetworkNorms, SampleStatistics

# Samples --------------------------------------------------------------------


def steps(x, beta_u, beta_w, beta_v):
    """a_t = beta_v * beta_u * beta_w ** (L - t), t = 1 .. L."""
    length = len(x[0])
    return [beta_v * beta_u * beta_w ** (length - t) for t in range(1, length + 1)]


def step_l1(x):
    """max_j sum_i |x_itj| of every step."""
    n, length, d = np.shape(x)
    return [
        max(sum(abs(float(x[i][t][j])) for i in range(n)) for j in range(d)) for t in range(length)
    ]


def step_l2_columns(x):
    """X_tj = sqrt(sum_i x_itj ** 2), a list of lists."""
    n, length, d = np.shape(x)
    return [
        [math.sqrt(math.fsum(float(x[i][t][j]) ** 2 for i in range(n))) for j in range(d)]
        for t in range(length)
    ]


def step_l2(x):
    """X_t = max_j X_tj."""
    return [max(columns) for columns in step_l2_columns(x)]


def ramp(margin, alpha):
    if margin <= 0:
        return 1.0
    if margin >= alpha:
        return 0.0
    return 1.0 - margin / alpha


def mean_ramp(margins, alpha):
    return math.fsum(ramp(float(m), alpha) for m in margins) / len(margins)


def mean_indicator(margins, alpha):
    return sum(1 for m in margins if m <= alpha) / len(margins)


def confidence(n, delta, factor=3):
    """factor * sqrt(ln(2 / delta) / (2 n))."""
    return factor * math.sqrt(math.log(2 / delta) / (2 * n))


# Section 6 ------------------------------------------------------------------


def exact_solve(matrix, vector):
    """Solve a small linear system in exact fractions (Gauss-Jordan)."""
    size = len(matrix)
    rows = [
        [Fraction(float(a)) for a in row] + [Fraction(float(b))]
        for row, b in zip(matrix, vector, strict=True)
    ]
    for column in range(size):
        pivot = next(i for i in range(column, size) if rows[i][column] != 0)
        rows[column], rows[pivot] = rows[pivot], rows[column]
        scale = rows[column][column]
        rows[column] = [a / scale for a in rows[column]]
        for i in range(size):
            if i != column and rows[i][column] != 0:
                factor = rows[i][column]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[column], strict=True)]
    return [row[-1] for row in rows]


def refined_linear(x, second_moment, r):
    """(r / n) sqrt(sum_i x_i' (C E C)^-1 x_i), c_t = L + 2 - t, in fractions."""
    n, length, d = np.shape(x)
    c = [length + 2 - t for t in range(1, length + 1) for _ in range(d)]
    size = length * d
    weighted = [
        [c[a] * c[b] * float(second_moment[a][b]) for b in range(size)] for a in range(size)
    ]
    total = Fraction(0)
    for i in range(n):
        row = [float(x[i][t][j]) for t in range(length) for j in range(d)]
        solved = exact_solve(weighted, row)
        total += sum(Fraction(a) * b for a, b in zip(row, solved, strict=True))
    return r * math.sqrt(total) / n


def refined_linear_zero_moment(x, sigma, r):
    """(r / (n sigma)) sqrt(sum_t |X_t|_F^2 / c_t^2): the case E = 0 under noise."""
    n, length, d = np.shape(x)
    total = 0.0
    for t in range(1, length + 1):
        c = length + 2 - t
        for i in range(n):
            for j in range(d):
                total += (float(x[i][t - 1][j]) / c) ** 2
    return r / (n * sigma) * math.sqrt(total)


def refined_difference(x, beta_u, beta_w, beta_v):
    """(1/n) bv bu sum_j (L - j + 1) bw^(L - j) |X_j|_1."""
    n, length, _ = np.shape(x)
    norms = step_l1(x)
    total = 0.0
    for j in range(1, length + 1):
        total += (length - j + 1) * beta_w ** (length - j) * norms[j - 1]
    return beta_v * beta_u * total / n


def noise_shift(x, beta_u, beta_w, beta_v, expected_max):
    """sum_t bv bu bw^(L-t) E|eps_t|_inf, before the factor over alpha."""
    return math.fsum(a * expected_max for a in steps(x, beta_u, beta_w, beta_v))


# Section 7 ------------------------------------------------------------------


def theorem_p(x, beta_u, beta_w, beta_v):
    """The closed form of Theorem P, divided by n."""
    n, _, d = np.shape(x)
    a = steps(x, beta_u, beta_w, beta_v)
    total = math.fsum(at * xt for at, xt in zip(a, step_l2(x), strict=True))
    return total * math.sqrt(2 * math.log(4 * d)) / n


def theorem_p_l1(x, beta_u, beta_w, beta_v):
    """Theorem P for an l1 ball: the smaller of the two forms, over n."""
    n, length, d = np.shape(x)
    a = steps(x, beta_u, beta_w, beta_v)
    weights = [at * xt for at, xt in zip(a, step_l2(x), strict=True)]
    total = math.fsum(weights)
    if total == 0:
        return 0.0
    doubled = math.fsum(weight / total * 2 ** (length - t) for t, weight in enumerate(weights, 1))
    first = total * math.sqrt(2 * math.log(4 * d * doubled)) / n
    return min(first, theorem_p(x, beta_u, 2 * beta_w, beta_v))


def log_sum_at(x, beta_u, beta_w, beta_v, scale, p, leaves=None):
    """(1/scale) ln(4 sum_t p_t sum_j exp(scale^2 a_t^2 X_tj^2 / (2 p_t^2))) / n.

    ``leaves[t]`` multiplies the term of step t (2 ** (L - t) for an l1 ball).
    """
    n, length, d = np.shape(x)
    a = steps(x, beta_u, beta_w, beta_v)
    columns = step_l2_columns(x)
    exponents = []
    for t in range(length):
        if p[t] <= 0:
            if max(columns[t]) * a[t] > 0:
                return math.inf
            continue
        count = 1 if leaves is None else leaves[t]
        exponents += [
            math.log(4 * p[t] * count) + (scale * a[t] * columns[t][j] / p[t]) ** 2 / 2
            for j in range(d)
        ]
    if not exponents:
        return 0.0
    top = max(exponents)
    value = top + math.log(math.fsum(math.exp(e - top) for e in exponents))
    return value / scale / n


def theorem_q(types, positive, absolute):
    """Theorem Q times n.

    ``types`` is a list of dictionaries with ``u``, ``w``, ``v``: each a pair
    of sign budgets, or for ``u`` and ``v`` a number (the radius of an l1
    ball). ``positive[t]`` and ``absolute[t]`` bound E max (Z_tj)_+ and
    E |Z_t|_inf.
    """
    total = 0.0
    for kind in types:
        b = sum(kind["w"])
        first = sum(kind["v"]) if isinstance(kind["v"], tuple) else 2 * kind["v"]
        length = len(positive)
        for t in range(1, length + 1):
            if isinstance(kind["u"], tuple):
                last = sum(kind["u"]) * positive[t - 1]
            else:
                last = kind["u"] * absolute[t - 1]
            total += first * b ** (length - t) * last
    return total


def path_norm_rows(w_u, w_w, w_v, omega):
    """Rows of sum_t |V| |W|^(L-t) |U| 1 omega_t, by explicit sums over paths."""
    u, w, v = (np.abs(np.asarray(a, dtype=float)) for a in (w_u, w_w, w_v))
    length = len(omega)
    m = len(w)
    rows = []
    for row in v:
        total = 0.0
        for t in range(1, length + 1):
            reach = [float(row[k]) for k in range(m)]
            for _ in range(length - t):
                reach = [math.fsum(reach[k] * float(w[k][q]) for k in range(m)) for q in range(m)]
            total += omega[t - 1] * math.fsum(
                reach[k] * float(u[k][j]) for k in range(m) for j in range(u.shape[1])
            )
        rows.append(total)
    return rows


def path_norm(x, budget, omega, signed):
    """B max_t(X_t / omega_t) sqrt(2 (...)) / n, both signs of W or W >= 0."""
    n, length, d = np.shape(x)
    top = max(xt / om for xt, om in zip(step_l2(x), omega, strict=True))
    inside = math.log(4 * d) + length * math.log(2) if signed else math.log(4 * d * length)
    return budget * top * math.sqrt(2 * inside) / n


def hidden(x, w_u, w_w, activation):
    """Hidden states (n, L + 1, m), by loops; the state 0 is zero."""
    n, length, d = np.shape(x)
    m = len(w_w)
    states = np.zeros((n, length + 1, m))
    for i in range(n):
        for t in range(length):
            for j in range(m):
                g = math.fsum(float(w_u[j][q]) * float(x[i][t][q]) for q in range(d))
                g += math.fsum(float(w_w[j][k]) * float(states[i][t][k]) for k in range(m))
                states[i][t + 1][j] = activation(g)
    return states


def theorem_i(x, boxes, anchor, expected_abs, activation=lambda g: max(g, 0.0)):
    """Theorem I divided by n, unit by unit.

    ``boxes`` is ((lo_u, hi_u), (lo_w, hi_w), (lo_v, hi_v)); ``anchor`` the
    weights theta^0 (U, W); ``expected_abs[t][l]`` bounds E|Z_tl|. Gives the
    list over rows of V.
    """
    n, length, d = np.shape(x)
    (lo_u, hi_u), (lo_w, hi_w), (lo_v, hi_v) = boxes
    m = len(lo_w)

    def weight(lo, hi):
        return max(hi, 0.0) + max(-lo, 0.0)

    states = hidden(x, *anchor, activation)

    def norm(t, k):
        return math.sqrt(math.fsum(float(states[i][t][k]) ** 2 for i in range(n)))

    size = [0.0] * m
    for t in range(1, length + 1):
        new = []
        for j in range(m):
            total = 0.0
            for q in range(d):
                total += 0.5 * (hi_u[j][q] - lo_u[j][q]) * expected_abs[t - 1][q]
            for k in range(m):
                total += weight(lo_w[j][k], hi_w[j][k]) * size[k]
                total += 0.5 * (hi_w[j][k] - lo_w[j][k]) * norm(t - 1, k)
            new.append(total)
        size = new
    rows = []
    for c in range(len(lo_v)):
        total = 0.0
        for j in range(m):
            total += weight(lo_v[c][j], hi_v[c][j]) * size[j]
            total += 0.5 * (hi_v[c][j] - lo_v[c][j]) * norm(length, j)
        rows.append(total / n)
    return rows


def population(x, a, p, bound, factor, delta_2):
    """Upper bound of R_n for d = 1: C sqrt(n) sqrt(E Q) / n."""
    n, length, _ = np.shape(x)
    q = [
        math.fsum(a[t] ** 2 * float(x[i][t][0]) ** 2 / p[t] for t in range(length) if a[t] > 0)
        for i in range(n)
    ]
    mean = math.fsum(q) / n
    variance = math.fsum((value - mean) ** 2 for value in q) / (n - 1)
    top = bound**2 * math.fsum(a[t] ** 2 / p[t] for t in range(length) if a[t] > 0)
    log = math.log(2 / delta_2)
    expected = mean + math.sqrt(2 * variance * log / n) + 7 * top * log / (3 * (n - 1))
    return factor * math.sqrt(n) * math.sqrt(expected) / n


# Section 8 ------------------------------------------------------------------


def unrolled(x, beta_u, beta_w, beta_v):
    """Golowich et al. on the unrolled net: the complexity of one row of V."""
    n, length, d = np.shape(x)
    b = beta_u
    for _ in range(2, length + 1):
        b = beta_w * b + 2 * beta_u
    top = max(max(columns) for columns in step_l2_columns(x))
    inside = (length + 1) * math.log(2) + math.log(length * d)
    return beta_v * b / n * math.sqrt(2 * inside) * top


def trivial(x, beta_u, beta_w, beta_v):
    """(1/n) sum_i sum_t bv bu bw^(L-t) |x_it|_inf."""
    n, length, d = np.shape(x)
    a = steps(x, beta_u, beta_w, beta_v)
    total = 0.0
    for i in range(n):
        for t in range(length):
            total += a[t] * max(abs(float(x[i][t][j])) for j in range(d))
    return total / n


def zhang_order(n, d, m, k, length, norms, alpha):
    """max{d,m,k} L^2 |U| |V| max(1, |W|^L) / (sqrt(n) alpha)."""
    norm_u, norm_w, norm_v = norms
    largest = max(1.0, norm_w**length)
    return max(d, m, k) * length**2 * norm_u * norm_v * largest / math.sqrt(n) / alpha


def spectral(matrix):
    """Largest singular value by power iteration on A'A."""
    a = np.asarray(matrix, dtype=float)
    v = np.ones(a.shape[1]) + 0.1 * np.arange(a.shape[1])
    for _ in range(600):
        new = a.T @ (a @ v)
        size = math.sqrt(float(new @ new))
        if size == 0:
            return 0.0
        v = new / size
    return math.sqrt(float((a @ v) @ (a @ v)))


def geometric_sum(base, length):
    """(base^L - 1) / (base - 1) as the sum it is."""
    return math.fsum(base**s for s in range(length))


def binomial_cdf(errors, n, p):
    """P[Bin(n, p) <= errors], exactly; p a Fraction."""
    p = Fraction(p)
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(errors + 1))


def binomial_upper(errors, n, delta, bits=40):
    """Bracket of the largest p with P[Bin(n, p) <= errors] >= delta."""
    if errors >= n:
        return Fraction(1), Fraction(1)
    delta = Fraction(delta)
    low, high = Fraction(0), Fraction(1)
    for _ in range(bits):
        middle = (low + high) / 2
        if binomial_cdf(errors, n, middle) >= delta:
            low = middle
        else:
            high = middle
    return low, high


def kl(q, p, digits=60):
    """Binary relative entropy kl(q || p) in nats, to ``digits`` digits."""
    with localcontext() as context:
        context.prec = digits
        q, p = Decimal(q), Decimal(p)
        total = Decimal(0)
        for left, right in ((q, p), (1 - q, 1 - p)):
            if left > 0:
                if right <= 0:
                    return Decimal("Infinity")
                total += left * (left / right).ln()
        return total


def kl_upper_scan(q, c, points=20000):
    """Bracket (last p with kl < c, next p) of the inverse, by scanning up."""
    last = q
    for i in range(points + 1):
        p = q + (1 - q) * i / points
        value = 0.0
        if q > 0:
            value += q * math.log(q / p)
        if q < 1:
            value += math.inf if p >= 1 else (1 - q) * math.log((1 - q) / (1 - p))
        if value >= c:
            return last, p
        last = p
    return last, 1.0


def occam_right(n_bits, n, delta):
    """(b ln 2 + ln(2 sqrt n / delta)) / n."""
    return (n_bits * math.log(2) + math.log(2 * math.sqrt(n) / delta)) / n


def pac_bayes_right(divergence, n, delta):
    """(KL + ln(2 sqrt n / delta)) / n."""
    return (divergence + math.log(2 * math.sqrt(n) / delta)) / n


def gaussian_divergence(mean, scale, prior_mean, prior_scale):
    """KL(N(mean, scale^2) || N(prior...)) of independent coordinates, by loops."""
    total = 0.0
    for mu, s, mu0, s0 in zip(
        np.ravel(mean),
        np.broadcast_to(scale, np.shape(mean)).ravel(),
        np.broadcast_to(prior_mean, np.shape(mean)).ravel(),
        np.broadcast_to(prior_scale, np.shape(mean)).ravel(),
        strict=True,
    ):
        total += math.log(s0 / s) + (s**2 + (mu - mu0) ** 2) / (2 * s0**2) - 0.5
    return float(total)


# The grids, the risk, and whole rows -----------------------------------------------------------


EXPONENTS = range(-64, 65)


def assembled(margins, factor, complexity, n, delta, alpha, shift=0.0):
    """Terms of Lemma 7 with the ramp: factor * complexity / alpha, shift / alpha."""
    return {
        "empirical_risk": mean_ramp(margins, alpha),
        "complexity": factor * complexity / alpha,
        "noise": shift / alpha,
        "confidence": confidence(n, delta),
    }


share_of = cache(paper.share)


def at_best(terms, margin, delta, exponents=EXPONENTS):
    """Least total over the margins, at the share of each; (total, alpha, delta that was left)."""
    if margin != "auto":
        return paper.total(terms(margin, delta)), margin, delta
    bins = [(2.0**e, delta * share_of(e)) for e in exponents]
    return min((paper.total(terms(alpha, left)), alpha, left) for alpha, left in bins)


def minimised(function, low=-12.0, high=12.0):
    """Least value of function(exp(s)): a grid, then a search around its best point."""
    grid = np.linspace(low, high, 121)
    best = min(grid, key=lambda s: function(math.exp(s)))
    step = grid[1] - grid[0]
    found = minimize_scalar(
        lambda s: function(math.exp(s)),
        bounds=(best - step, best + step),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return min(function(math.exp(best)), float(found.fun))


def least_log_sum(x, beta_u, beta_w, beta_v, leaves=None):
    """The log-sum with p_t ~ a_t X_t at its best scale."""
    a = steps(x, beta_u, beta_w, beta_v)
    weights = [at * xt for at, xt in zip(a, step_l2(x), strict=True)]
    total = math.fsum(weights)
    if total == 0:
        return 0.0
    p = [weight / total for weight in weights]
    return minimised(
        lambda scale: log_sum_at(x, beta_u, beta_w, beta_v, scale / total, p, leaves), -4, 6
    )


def least_max_abs(columns):
    """Smallest of the four limits of E max_j |Z_j|; columns are the X_j of one step."""
    top, d = max(columns), len(columns)
    if top == 0:
        return 0.0
    massart = top * math.sqrt(2 * math.log(2 * d))
    jensen = math.sqrt(math.fsum(c**2 for c in columns))

    def log_sum(mu):
        return math.log(2 * math.fsum(math.exp((mu * c / top) ** 2 / 2) for c in columns)) / mu

    return min(massart, jensen, math.fsum(columns), top * minimised(log_sum, -3, 3))


def least_max_positive(columns):
    """Smallest of the four limits of E max_j (Z_j)_+."""
    top, d = max(columns), len(columns)
    if top == 0:
        return 0.0
    massart = top * math.sqrt(2 * math.log(d + 1))
    jensen = math.sqrt(math.fsum(c**2 for c in columns) / 2)

    def log_sum(mu):
        return math.log(1 + math.fsum(math.exp((mu * c / top) ** 2 / 2) for c in columns)) / mu

    return min(massart, jensen, math.fsum(columns) / 2, top * minimised(log_sum, -3, 3))


@dataclass(frozen=True)
class Score:
    """Budgets of one score: of y_1 - y_0 for two classes, of a row of V else.

    ``betas`` are the l1 radii that the constraints name (sign budgets added up), ``rows`` those
    that every row respects once the signs of two types are taken into account.
    """

    betas: tuple
    signed: bool
    types: tuple
    share: float
    rows: tuple


def score(fixed, reached, k, unit_types):
    """What the constraints say of a score; fixed and reached are those of U, W and V."""
    (beta_u, beta_w, beta_v), share = paper.union(fixed, reached)
    pair_u, pair_w, pair_v = (isinstance(beta, tuple) for beta in fixed)
    if unit_types == 2:
        # Every sign is known: "+" has U, V >= 0, "-" has U, V <= 0, and W >= 0.
        u = fixed[0] if pair_u else (beta_u, beta_u)
        v = fixed[2] if pair_v else (beta_v, beta_v)
        w = (fixed[1][0] if pair_w else beta_w, 0.0)
        types = tuple({"u": (u[i], 0.0), "w": w, "v": (v[i], 0.0)} for i in (0, 1))
        # A row of U has one sign only, and W none but the positive.
        return Score((beta_u, beta_w, beta_v), True, types, share, (max(u), w[0], beta_v))
    # V_1 - V_0: the positive entries of one row and the negative ones of the other.
    read = (beta_v, beta_v) if k == 2 else fixed[2]
    kind = {
        "u": fixed[0] if pair_u else beta_u,
        "w": fixed[1] if pair_w else (beta_w, beta_w),
        "v": read if pair_v else (2 if k == 2 else 1) * beta_v,
    }
    betas = (beta_u, beta_w, 2 * beta_v if k == 2 else beta_v)
    return Score(betas, pair_w, (kind,), share, betas)


def row_norm_complexity(x, limits):
    """Smallest bound on R that the row norms give: P, log-sum, Q."""
    n, length, _ = np.shape(x)
    columns = step_l2_columns(x)
    linear = theorem_q(
        limits.types,
        [least_max_positive(c) for c in columns],
        [least_max_abs(c) for c in columns],
    )
    if limits.signed:
        forms = [theorem_p(x, *limits.rows), least_log_sum(x, *limits.rows)]
    else:
        leaves = [2 ** (length - t) for t in range(1, length + 1)]
        forms = [theorem_p_l1(x, *limits.rows), least_log_sum(x, *limits.rows, leaves)]
    return min(*forms, linear / n)


def population_form(x, margins, limits, bound, alpha, delta_1, delta_2):
    """Terms of the population form for two classes: a_t = C b^(L - t), p_t in their proportion."""
    n, length, _ = np.shape(x)
    b = sum(limits.types[0]["w"])
    decays = [b ** (length - t) for t in range(1, length + 1)]
    p = [decay / math.fsum(decays) for decay in decays]
    # C is Theorem Q for one step of one feature of size 1: E Z_+ is at most 1/2, E|Z| at most 1.
    constant = theorem_q(limits.types, [0.5], [1.0])
    return {
        "empirical_risk": mean_ramp(margins, alpha),
        "complexity": 2 / alpha * population(x, decays, p, bound, constant, delta_2),
        "confidence": math.sqrt(math.log(1 / delta_1) / (2 * n)),
    }


# Small cases -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Case:
    """A sample, the noise on it, and weights."""

    X: np.ndarray
    noise: np.ndarray
    labels: np.ndarray
    weights: tuple
    k: int

    def inputs(self, noisy=False):
        return self.X + self.noise if noisy else self.X

    @cache  # noqa: B019
    def margins(self, noisy=False):
        return paper.true_margins(paper.outputs(*self.weights, self.inputs(noisy)), self.labels)

    def norms(self, fixed=(None, None, None)):
        """Row norms of the weights, as sign sums where the constraint is a pair."""
        return tuple(
            paper.sign_norms(A) if isinstance(beta, tuple) else paper.row_norm(A)
            for A, beta in zip(self.weights, fixed, strict=True)
        )


@cache
def make_case(seed=0, n=9, L=3, d=2, m=4, k=2, unit_types=1, sigma=0.4):
    rng = np.random.default_rng(seed)
    U, W, V = rng.normal(size=(m, d)), 0.4 * rng.normal(size=(m, m)), rng.normal(size=(k, m))
    if unit_types == 2:
        half = m // 2
        signs = np.where(np.arange(m) < half, 1.0, -1.0)
        U, V, W = abs(U) * signs[:, None], abs(V) * signs, abs(W) * (np.outer(signs, signs) > 0)
        if k == 2:
            V[0] = 0.0
    X = rng.normal(size=(n, L, d)) * rng.uniform(0.2, 2) * rng.uniform(0.1, 1, size=(1, L, d))
    noise = rng.normal(0, sigma, (n, L, d))
    return Case(X, noise, rng.integers(k, size=n), (U, W, V), k)


def second_moment(X):
    flat = X.reshape(len(X), -1)
    return flat.T @ flat / len(X)


@cache
def input_sums(case, noisy=False, *, decay=None, whitened=None):
    """What a bound is told of a sample."""
    X, (U, W, V) = case.inputs(noisy), case.weights
    _, L, d = X.shape
    energy = None
    if decay is not None and d == 1:
        values = [sum(decay ** (L - t) * x[t - 1, 0] ** 2 for t in range(1, L + 1)) for x in X]
        mean = math.fsum(values) / len(X)
        energy = mean, math.fsum((v - mean) ** 2 for v in values) / (len(X) - 1)
    return InputSums(
        margins=case.margins(noisy),
        fisher_rao=paper.fisher_rao(U, W, V, X),
        step_abs_sums=np.array(step_l1(X)),
        square_sums=paper.column_squares(X),
        step_max_sums=np.array([sum(max(abs(v) for v in x[t]) for x in X) for t in range(L)]),
        max_norm=max(math.sqrt(sum(v**2 for v in x_t)) for x in X for x_t in x),
        scalar_fisher_rao=paper.fisher_rao(U, W, V[1:2] - V[:1], X) if case.k == 2 else None,
        whitened_norm=whitened,
        energy=energy,
    )


def statistics(
    case, fixed=(None, None, None), *, eigenvalue=0.1, decay=None, whitened=None, **more
):
    """What the bounds are told of a sample, clean and noisy, and of the weights."""
    U, W, V = case.weights
    read = V[1:2] - V[:1] if case.k == 2 else V
    network = NetworkNorms(
        hidden_size=len(U),
        spectral_u=float(np.linalg.norm(U, 2)),
        spectral_w=float(np.linalg.norm(W, 2)),
        spectral_v=float(np.linalg.norm(V, 2)),
        path_norm=max(path_norm_rows(U, W, read, [1.0] * case.X.shape[1])),
    )
    return SampleStatistics(
        case.k,
        input_sums(case, decay=decay, whitened=whitened),
        input_sums(case, True, whitened=whitened),
        eigenvalue,
        *case.norms(fixed),
        network,
        **more,
    )


# Truth from below: members of a class, all signs -------------------------------------------------


def states(U, W, X, activation):
    """Last hidden states of many networks: U (N, m, d), W (N, m, m), result (N, n, m)."""
    h = np.zeros((len(U), len(X), U.shape[1]))
    for t in range(X.shape[1]):
        h = activation(np.einsum("nd,Nmd->Nnm", X[:, t], U) + np.einsum("Nnk,Nmk->Nnm", h, W))
    return h


def complexity_from_below(scores):
    """E_s max over the given scores (N, n) of (1/n) sum_i s_i score_i, all signs enumerated."""
    n = scores.shape[1]
    signs = np.array(list(product((-1.0, 1.0), repeat=n)))
    return float((scores @ signs.T).max(0).mean()) / n


def random_rows(rng, shape, radius):
    """Rows within an l1 ball (a number) or sign budgets (a pair): extreme points and others."""
    raw = rng.normal(size=shape)
    # Mostly a few large entries: the suprema are attained at corners.
    raw = np.sign(raw) * abs(raw) ** rng.choice([1, 4, 30], size=(*shape[:-1], 1))
    if not isinstance(radius, tuple):
        return radius * raw / abs(raw).sum(-1, keepdims=True)
    rows = np.zeros(shape)
    for sign, budget in zip((1, -1), radius, strict=True):
        part = np.maximum(sign * raw, 0)
        total = part.sum(-1, keepdims=True)
        rows += sign * budget * np.divide(part, total, out=np.zeros(shape), where=total > 0)
    return rows
