"""Series of the UEA and UCR archives."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import validate_params

from sklearn_rnnbound.datasets._files import lines_within
from sklearn_rnnbound.paths import as_path

__all__ = ["load_ts"]

_MAX_LINE = 2**25
_MAX_SERIES = 1_000_000
_MAX_DIMENSIONS = 10_000
_TAGS = {
    "data",
    "timestamps",
    "classlabel",
    "targetlabel",
    "univariate",
    "dimensions",
    "equallength",
    "serieslength",
}
_SOURCE = (
    "Download a data set of the UEA or UCR archive from timeseriesclassification.com; its zip file "
    "holds a file <name>_TRAIN.ts and a file <name>_TEST.ts"
)


@validate_params({"path": [str, os.PathLike]}, prefer_skip_nested_validation=True)
def load_ts(path: str | os.PathLike[str]) -> Bunch:
    """Labelled series of a ``.ts`` file, the format of the UEA and UCR archives.

    The file is read by aeon [1]_, which the extra ``series`` brings. Series may be of different
    lengths; :class:`~sklearn_rnnbound.preprocessing.SequencePadder` makes one array of them.

    Parameters
    ----------
    path : str or path-like
        The file, such as ``JapaneseVowels_TRAIN.ts``.

    Returns
    -------
    bunch : Bunch
        A dictionary with attributes:

        data : list of ndarray of shape (L_i, d)
            The series, time first, float64. Missing values are NaN. Steps at the end at which no
            channel has a value are left out: some files fill up short series with them.
        target : ndarray of shape (n,)
            The labels, str, spelled as in the header of the file.

    Raises
    ------
    ImportError
        Without aeon.
    FileNotFoundError
        When there is no such file.
    ValueError
        When the file has another ending, is malformed or cut off in the middle of a series, has
        no labels or one that its header does not list, numbers in place of labels, time stamps
        or infinite values, does not hold what its header announces, or exceeds the limits below.

    Notes
    -----
    Blank lines, and lines that begin with ``#``, are comments wherever they are.

    A file that is cut off between two series reads like a shorter one: its header does not say
    how many there are. A line may have 33,554,432 characters, a series 10,000 channels
    and a file 1,000,000 series.

    References
    ----------
    .. [1] M. Middlehurst et al. aeon: a Python Toolkit for Learning from Time Series. Journal of
       Machine Learning Research 25, 2024.
    """
    path = Path(as_path(path, "path"))
    if not path.is_file():
        raise FileNotFoundError(f"no file is at {path}. {_SOURCE}")
    if path.suffix != ".ts":
        raise ValueError(f"{path} must have the ending .ts. {_SOURCE}")
    try:
        from aeon.datasets import load_from_ts_file
    except ImportError as error:
        raise ImportError("load_ts needs aeon: pip install 'sklearn-rnnbound[series]'") from error
    tags, is_plain = _read_header(path)
    spelling = _spelling_of_labels(tags, path)
    with ExitStack() as stack:
        plain = path
        if not is_plain:
            # aeon knows comments in the header alone.
            folder = stack.enter_context(TemporaryDirectory())
            plain = _without_comments(path, Path(folder, "plain.ts"))
        try:
            series, labels = load_from_ts_file(os.fspath(plain))
        except (OSError, ValueError, IndexError) as error:
            raise ValueError(f"{path} is not a whole .ts file: {error}. {_SOURCE}") from error
    # aeon turns labels to lower case.
    labels = [str(label).strip().lower() for label in labels]
    _check_series(series, labels, tags, path)
    for number, label in enumerate(labels, start=1):
        if label not in spelling:
            what = "the last label" if number == len(labels) else f"the label of series {number}"
            raise ValueError(
                f"{path} is not a whole .ts file: {what}, {label[:60]!r}, is cut off or missing in "
                f"the header. {_SOURCE}"
            )
    return Bunch(
        data=[_without_missing_end(values.T) for values in series],
        target=np.array([spelling[label] for label in labels]),
    )


def _read_header(path: Path) -> tuple[dict[str, list[str]], bool]:
    """Values of the tags, by name in lower case, and whether the data are free of comments.

    The size of the data is checked.
    """
    tags = {}
    is_plain = True
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = lines_within(file, _MAX_LINE, str(path))
        for line in lines:
            first, *values = line.split() or ["#"]
            # aeon looks past the first character of a tag, whatever it is.
            tag = first[1:].lower()
            if first.startswith("#") or tag not in _TAGS:
                continue
            if tag == "data":
                break
            if tag in tags:
                raise ValueError(f"{path} holds the tag {first[:60]!r} twice. {_SOURCE}")
            tags[tag] = values
        else:
            raise ValueError(f"{path} is not a whole .ts file: it has no line @data. {_SOURCE}")
        for number, line in enumerate(lines, start=1):
            is_plain = is_plain and not _is_comment(line)
            if number > _MAX_SERIES or line.count(":") > _MAX_DIMENSIONS:
                raise ValueError(
                    f"{path} holds more than {_MAX_SERIES:,} series or {_MAX_DIMENSIONS:,} "
                    f"channels, which are the limits"
                )
    return tags, is_plain


def _is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _without_comments(path: Path, target: Path) -> Path:
    """Copy of a file, at `target`, without its blank lines and comments."""
    # Bytes that are not UTF-8 are for aeon to find.
    with (
        path.open(encoding="utf-8", errors="surrogateescape") as file,
        target.open("w", encoding="utf-8", errors="surrogateescape") as copy,
    ):
        copy.writelines(line for line in file if not _is_comment(line))
    return target


def _spelling_of_labels(tags: dict[str, list[str]], path: Path) -> dict[str, str]:
    """Labels that the header announces, under their lower-case form."""
    true = {tag for tag, values in tags.items() if values and values[0].lower() == "true"}
    if "timestamps" in true:
        # aeon 1.6 drops the sign of values that have time stamps.
        raise ValueError(f"{path} holds series with time stamps, which are not read")
    if "classlabel" not in true or "targetlabel" in true:
        raise ValueError(f"{path} holds series without class labels")
    labels = tags["classlabel"][1:]
    spelling = {label.lower(): label for label in labels}
    if len(spelling) < len(set(labels)):
        raise ValueError(f"{path} has labels that differ in case alone, which aeon ignores")
    return spelling


def _check_series(
    series: np.ndarray | list[np.ndarray],
    labels: list[str],
    tags: dict[str, list[str]],
    path: Path,
) -> None:
    """Raise ValueError for series that are none or not what the header announces."""
    if not labels or not series[0].size:
        raise ValueError(f"{path} is not a whole .ts file: it holds no series. {_SOURCE}")
    n_channels, n_steps = series[0].shape
    found = {"dimensions": n_channels}
    if isinstance(series, np.ndarray):
        found["serieslength"] = n_steps
    for tag, number in found.items():
        announced = tags.get(tag, [str(number)])
        if announced != [str(number)]:
            raise ValueError(
                f"{path} announces {tag} {' '.join(announced)[:60]!r} in its header and holds "
                f"{number}. {_SOURCE}"
            )
    if any(np.isinf(values).any() for values in series):
        raise ValueError(f"{path} holds infinite values. {_SOURCE}")


def _without_missing_end(values: np.ndarray) -> np.ndarray:
    """Contiguous copy of (L, d) values up to the last step with a value."""
    present = np.flatnonzero(~np.isnan(values).all(1))
    length = present[-1] + 1 if len(present) else 0
    return np.ascontiguousarray(values[:length])
