"""What a bound is to the rest of the package, and where all bounds are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol

import numpy as np

from sklearn_rnnbound.bounds._bound import Bound, NotApplicableError, Setting
from sklearn_rnnbound.bounds._sample import SampleStatistics
from sklearn_rnnbound.properties import Property

__all__ = ["BOUNDS", "BoundRule", "Trial", "register"]

#: Every bound by name, in the order of reports.
BOUNDS: dict[str, BoundRule] = {}

#: Weights by name, as arrays.
Weights = Mapping[str, np.ndarray]


class Trial(Protocol):
    """The data beside a trained network, and trials of other networks of its form on them.

    Errors count a tie for the largest score, and a label that is unknown to the network.

    Attributes
    ----------
    setting : Setting
        What was fixed beforehand.
    weights : dict of ndarray
        The trained weights, in float64.
    reference : dict of ndarray or None
        Weights that other data have trained; None where there are none.
    n_reference : int
        Number of samples that these have learned from.
    prior_mean : dict of ndarray
        Weights that do not depend on the sample: the reference, or the initial weights.
    n_train, n_test : int
        Number of training samples, and of test samples; 0 where these are absent.
    """

    setting: Setting
    weights: Weights
    reference: Weights | None
    n_reference: int
    n_train: int
    n_test: int

    @property
    def prior_mean(self) -> Weights: ...

    def train_errors(self, weights: Weights) -> int:
        """Number of errors of other weights on the training data."""

    def test_errors(self, weights: Weights) -> int:
        """Number of errors of other weights on the test data."""

    def random_error(self, std: float, *, test: bool = False) -> float:
        """Share of errors when small groups of rows meet Gaussian weights of their own.

        The weights have the trained ones as their mean, and the standard deviation `std`.
        """

    @property
    def rows_per_draw(self) -> int:
        """Number of training rows that meet the same draw of the weights."""

    def progress(self, what: str, total: int) -> AbstractContextManager[Callable[[int], object]]:
        """Progress bar that is told how many of `total` steps were done since the last call."""


class BoundRule:
    """A bound: what it needs, what it speaks of, and its value. One class for each.

    Attributes
    ----------
    name : str
        Key of :data:`BOUNDS`.
    needs_property : Property or None
        What its proof needs of the cell; None for proofs that hold for any network.
    data : {"", "train", "test"}
        The data that it needs beside a fitted classifier.
    speaks_of : {"trained", "rounded", "randomised"}
        The network whose error it bounds.
    order_only : bool
        Whether its constants are unknown, so that only its growth means something.
    """

    name: ClassVar[str]
    needs_property: ClassVar[Property | None] = None
    data: ClassVar[str] = ""
    speaks_of: ClassVar[str] = "trained"
    order_only: ClassVar[bool] = False

    def obstacle(self, setting: Setting) -> str | None:
        """Why the bound does not apply, or None.

        Parameters
        ----------
        setting : Setting
            What was fixed beforehand; all that decides it.

        Returns
        -------
        reason : str or None
            A line for people.
        """
        if self.needs_property is None or self.needs_property in setting.properties:
            return None
        return (
            f"{self.name} is proved for {self.needs_property.name} cells "
            f"({self.needs_property.meaning}), and {setting.cell} is not known to be one"
        )

    def evidence(self, trial: Trial) -> Any:
        """What the bound needs of its data; None for bounds that need none.

        Parameters
        ----------
        trial : Trial
            The data, and networks to be tried on them.

        Returns
        -------
        evidence : object
            Plain numbers, handed on to the call.
        """
        return None

    def test_error(self, sample: SampleStatistics, evidence: Any, setting: Setting) -> float | None:
        """Test error of the network that the bound speaks of, where it is not the trained one."""
        return None

    def __call__(self, sample: SampleStatistics, evidence: Any, setting: Setting) -> Bound:
        """The bound, if it applies.

        Parameters
        ----------
        sample : SampleStatistics
            What the data and the weights contribute.
        evidence : object
            What :meth:`evidence` returned.
        setting : Setting
            What was fixed beforehand.

        Returns
        -------
        bound : Bound
            Its value, terms and assumptions.

        Raises
        ------
        NotApplicableError
            When :meth:`obstacle` has something against it.
        """
        if obstacle := self.obstacle(setting):
            raise NotApplicableError(obstacle)
        return self.bound(sample, evidence, setting)

    def bound(self, sample: SampleStatistics, evidence: Any, setting: Setting) -> Bound:
        """The bound where it applies: what a new one defines."""
        raise NotImplementedError


def register(rule: type[BoundRule]) -> type[BoundRule]:
    """Class decorator that puts a bound into :data:`BOUNDS`."""
    BOUNDS[rule.name] = rule()
    return rule
