"""What a bound is to the rest of the package, and where all bounds are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from sklearn_rnnbound.bounds._bound import Bound, NotApplicableError, Setting
from sklearn_rnnbound.bounds._sample import SampleStatistics
from sklearn_rnnbound.properties import Property

__all__ = ["BOUNDS", "BoundRule", "Trial", "register"]

#: Every bound by name, in the order of reports.
BOUNDS: dict[str, BoundRule] = {}

#: Weights by name, as arrays.
Weights = Mapping[str, np.ndarray]

# The data that a bound may need, and the arguments that bring them.
_MISSING = {
    "test": "test data: pass X_test and y_test",
    "train": "the training data: pass X_train and y_train",
}


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
    rows_per_draw : int
        Number of training rows that meet the same draw of random weights.
    n_train, n_test : int
        Number of training samples, and of test samples; 0 where these are absent.
    """

    @property
    def setting(self) -> Setting: ...
    @property
    def weights(self) -> Weights: ...
    @property
    def reference(self) -> Weights | None: ...
    @property
    def n_reference(self) -> int: ...
    @property
    def n_train(self) -> int: ...
    @property
    def n_test(self) -> int: ...
    @property
    def prior_mean(self) -> Weights: ...
    @property
    def rows_per_draw(self) -> int: ...

    def train_errors(self, weights: Weights) -> int:
        """Number of errors of other weights on the training data."""

    def test_errors(self, weights: Weights) -> int:
        """Number of errors of other weights on the test data."""

    def random_error(self, std: float, *, test: bool = False) -> float:
        """Share of errors when small groups of rows meet Gaussian weights of their own.

        The weights have the trained ones as their mean, and the standard deviation `std`.
        """

    def progress(self, what: str, total: int) -> AbstractContextManager[Callable[[int], object]]:
        """Progress bar; what it yields is told how many of `total` steps were done since."""


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
    prior_from_seed : bool
        Whether it rests on the initial weights, so that a search must not choose among their draws.
    """

    name: ClassVar[str]
    needs_property: ClassVar[Property | None] = None
    data: ClassVar[str] = ""
    speaks_of: ClassVar[str] = "trained"
    order_only: ClassVar[bool] = False
    prior_from_seed: ClassVar[bool] = False

    def obstacle(self, setting: Setting) -> str | None:
        """Why the bound does not apply, in a line for people, or None; the setting decides it."""
        needed = self.needs_property
        if needed is None or needed in setting.properties:
            return None
        return (
            f"{self.name} is proved for {needed.name} cells, such as {needed.example}, and "
            f"{setting.cell} is not known to be one"
        )

    @property
    def lacks_data(self) -> str:
        """The line that says what to pass."""
        return f"{self.name} needs {_MISSING[self.data]}"

    def evidence(self, trial: Trial) -> Any:
        """What the bound needs of its data, as plain numbers; None for bounds that need none."""
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
            When :meth:`obstacle` has something against it, or its data are missing.
        """
        if obstacle := self.obstacle(setting):
            raise NotApplicableError(obstacle)
        if self.data and evidence is None:
            raise NotApplicableError(self.lacks_data)
        return self.bound(sample, evidence, setting)

    def bound(self, sample: SampleStatistics, evidence: Any, setting: Setting) -> Bound:
        """The bound where it applies: what a new one defines."""
        raise NotImplementedError


Rule = TypeVar("Rule", bound=BoundRule)


def register(rule: type[Rule]) -> type[Rule]:
    """Class decorator that puts a bound into :data:`BOUNDS`."""
    BOUNDS[rule.name] = rule()
    return rule
