"""Published bounds whose constants are not explicit: their order of growth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sklearn_rnnbound.bounds._bound import Bound, Setting, Term
from sklearn_rnnbound.bounds._numeric import power_sum
from sklearn_rnnbound.bounds._rule import BoundRule, register
from sklearn_rnnbound.bounds._sample import SampleStatistics
from sklearn_rnnbound.properties import PLAIN

__all__ = ["Chen2019", "Zhang2018"]


@register
class Zhang2018(BoundRule):
    """Order of the bound of Zhang, Lei & Dhillon (2018), in its own units.

    ``max(d, m, k) L^2 ||U||_2 ||V||_2 max(1, ||W||_2^L) / (sqrt(n) alpha)``; constants and the
    scale of the input are left out, so that its growth means something and its value nothing.
    """

    name = "zhang2018"
    needs_property = PLAIN
    order_only = True

    def bound(self, sample: SampleStatistics, evidence: Any, setting: Setting) -> Bound:
        """Term ``order``."""
        norms = sample.network
        size = max(sample.n_features, norms.hidden_size, sample.n_classes)
        last = np.zeros(sample.n_steps + 1)
        last[-1 if norms.spectral_w > 1 else 0] = 1.0
        order = power_sum(
            norms.spectral_w, last, norms.spectral_u, norms.spectral_v, size * sample.n_steps**2
        )
        return _order(self.name, order, sample, setting)


@register
class Chen2019(BoundRule):
    """Order of the bound of Chen, Li & Zhao (2019), in its own units.

    ``sqrt(number of weights) ||U||_2 ||V||_2 max_t ||x_t||_2 sum_{s<L} ||W||_2^s
    / (sqrt(n) alpha)``, without its logarithms, and without the branch for bounded activations.
    """

    name = "chen2019"
    needs_property = PLAIN
    order_only = True

    def bound(self, sample: SampleStatistics, evidence: Any, setting: Setting) -> Bound:
        """Term ``order``."""
        norms, m = sample.network, sample.network.hidden_size
        n_weights = m * (sample.n_features + m + sample.n_classes)
        order = power_sum(
            norms.spectral_w,
            np.ones(sample.n_steps),
            norms.spectral_u,
            norms.spectral_v,
            sample.clean.max_norm,
            math.sqrt(n_weights),
        )
        return _order(self.name, order, sample, setting)


def _order(name: str, order: float, sample: SampleStatistics, setting: Setting) -> Bound:
    margin = 1.0 if setting.margin == "auto" else float(setting.margin)
    value = order / math.sqrt(sample.n_samples) / margin
    return Bound(
        name=name,
        value=value,
        kind="order_only",
        terms=(Term("order", value, "n^-1/2"),),
        margin=margin,
        delta=None,
        assumptions=(
            *setting.notes,
            f"at margin {margin:g}; in its own units, not a probability: to be compared with "
            "itself only",
        ),
        vacuous=False,
        reason="",
    )
