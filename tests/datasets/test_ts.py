"""Series of the UEA and UCR archives."""

import sys

import numpy as np
import pytest
from data import data_folder, read_ts

from sklearn_rnnbound.datasets import load_ts

TS = """# A comment
@problemName Three

@timeStamps false
@missing {missing}
@univariate false
@equalLength {equal}
@classLabel true Up down UPPER
@data
"""


def write_ts(folder, *lines, equal="false", missing="false", header=TS):
    path = folder / "Three_TRAIN.ts"
    text = header.format(equal=equal, missing=missing) + "".join(line + "\n" for line in lines)
    path.write_text(text.removesuffix("\n") if lines else text, encoding="utf-8")
    return path


@pytest.fixture
def aeon():
    pytest.importorskip("aeon", reason="the extra series is not installed")


@pytest.mark.usefixtures("aeon")
@pytest.mark.parametrize("part", ["TRAIN", "TEST"])
@pytest.mark.parametrize("name", ["JapaneseVowels", "BasicMotions", "ItalyPowerDemand", "GunPoint"])
def test_series_are_those_of_another_reader(name, part):
    path = data_folder() / "uea" / name / f"{name}_{part}.ts"
    series, (X, y) = load_ts(path), read_ts(path)
    np.testing.assert_array_equal(series.target, y)
    assert len(series.data) == len(X)
    for values, padded in zip(series.data, X, strict=True):
        assert values.dtype == np.float64
        assert values.flags.c_contiguous
        np.testing.assert_array_equal(values, padded[len(padded) - len(values) :])
        assert not padded[: len(padded) - len(values)].any()


@pytest.mark.usefixtures("aeon")
def test_series_by_hand(tmp_path):
    path = write_ts(tmp_path, "1,2,3:-4,5e1,.5:Up", "7:8: down", "0,1:1,0:UPPER")
    series = load_ts(str(path))
    expected = [[[1, -4], [2, 50], [3, 0.5]], [[7, 8]], [[0, 1], [1, 0]]]
    for values, other in zip(series.data, expected, strict=True):
        np.testing.assert_array_equal(values, other)
    assert series.target.tolist() == ["Up", "down", "UPPER"]


@pytest.mark.usefixtures("aeon")
@pytest.mark.parametrize("equal", ["true", "false"])
def test_missing_values_stay_but_for_steps_at_the_end(equal, tmp_path):
    lines = ["1,?,3,?:4,?,?,NaN:Up", "?,2,3,4:1,2,3,?:down", "?,?,?,?:?,?,?,?:Up"]
    data = load_ts(write_ts(tmp_path, *lines, equal=equal, missing="true")).data
    np.testing.assert_array_equal(data[0], [[1, 4], [np.nan, np.nan], [3, np.nan]])
    np.testing.assert_array_equal(data[1], [[np.nan, 1], [2, 2], [3, 3], [4, np.nan]])
    assert data[2].shape == (0, 2)


UEA = r"UEA or UCR archive from timeseriesclassification\.com"


@pytest.mark.usefixtures("aeon")
@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "holds no series"),
        (["1,2:3,4:Up", "1,2:3"], "not a whole"),
        (["1,2:3,4:Up", "1,2:3,4"], "not a whole"),
        (["1,2:3,4:Up", "1,2:3,4:"], "the label of series 2, '', is cut off"),
        (["1,2:3,4:Up", "1,2:3,4:dow"], "the label of series 2, 'dow', is cut off"),
        (["1,2:3,4:Up", "1,"], "not a whole"),
        (["1,2:3,4:Up", "1,2:3:Up"], "not a whole"),
        (["1,2:3,4:Up", "", "1,2:3,4:Up"], "not a whole"),
        (["1,2:3,x:Up"], "not a whole"),
        (["1,2:3,\0:Up"], "not a whole"),
    ],
)
@pytest.mark.parametrize("equal", ["true", "false"])
def test_series_that_are_cut_off_or_malformed(lines, message, equal, tmp_path):
    with pytest.raises(ValueError, match=f"{message}.*{UEA}"):
        load_ts(write_ts(tmp_path, *lines, equal=equal))


@pytest.mark.usefixtures("aeon")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("@problemName A\n1,2:Up", f"holds no series.*{UEA}"),
        ("@timeStamps TRUE\n@classLabel true Up\n@data\n(0,1.5):Up", "time stamps, which are not"),
        ("@classLabel false\n@data\n1,2:3,4", "without class labels"),
        ("@targetLabel true\n@classLabel false\n@data\n1,2:0.5", "without class labels"),
        ("@data\n1,2:Up", f"the label of series 1, 'up', is .* missing in the.*{UEA}"),
        ("@problemName\n@classLabel true Up\n@data\n1,2:Up", f"not a whole.*{UEA}"),
        ("@classLabel true Up up\n@data\n1,2:Up", "labels that differ in case alone"),
        ("\0\1\2\n" + "garbage " * 1000, f"holds no series.*{UEA}"),
    ],
)
def test_headers_that_are_not_read(content, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_ts(write_ts(tmp_path, header=content))


@pytest.mark.usefixtures("aeon")
def test_file_that_is_not_there_or_not_text(tmp_path):
    path = tmp_path / "Three_TRAIN.ts"
    with pytest.raises(FileNotFoundError, match="Three_TRAIN"):
        load_ts(path)
    path.write_bytes(write_ts(tmp_path, "1,2:Up").read_bytes() + b"\n\xff")
    with pytest.raises(ValueError, match=f"not a whole .ts file: .*utf-8.*{UEA}"):
        load_ts(path)


def test_series_without_aeon(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "aeon.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-rnnbound\[series\]'"):
        load_ts(write_ts(tmp_path, "1:2:Up"))
