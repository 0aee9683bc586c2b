"""Costs as a person writes and reads them."""

import pytest

from nas.errors import LimitError
from nas.units import COSTS, parse_bytes, parse_count, parse_time, show_cost, show_count


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2G", 2 * 10**9),
        ("1.5M", 1_500_000),
        ("300k", 300_000),
        ("2000000", 2_000_000),
        ("2_000", 2000),
        (7, 7),
        ("0.001G", 10**6),
    ],
)
def test_parse_count(text, value):
    assert parse_count(text) == value


@pytest.mark.parametrize("text", ["", "G", "-3M", "2X", "0", "1.5", "2 GMACs", "nan"])
def test_parse_count_refuses(text):
    with pytest.raises(LimitError):
        parse_count(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("200M", 2e8), ("200MB", 2e8), ("1.5GiB", 1.5 * 2**30), ("512 KiB", 2**19), (7, 7), ("9B", 9)],
)
def test_parse_bytes(text, value):
    assert parse_bytes(text) == value


@pytest.mark.parametrize("text", ["", "MB", "-3M", "2X", "0", "0.5B", "10 ms"])
def test_parse_bytes_refuses(text):
    with pytest.raises(LimitError):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "value"), [("20ms", 20), ("0.02s", 20), ("900us", 0.9), (20, 20), ("1.5", 1.5)]
)
def test_parse_time(text, value):
    assert parse_time(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "ms", "0ms", "-1ms", "2h", "20 MB"])
def test_parse_time_refuses(text):
    with pytest.raises(LimitError):
        parse_time(text)


def test_show_count():
    shown = [show_count(n) for n in (999, 1234, 2.31e9, 999_600, 999_999, 0)]
    assert shown == ["999", "1.23 k", "2.31 G", "1 M", "1 M", "0"]


def test_each_cost_is_shown_in_its_unit():
    shown = [show_cost(name, 2_500_000) for name in COSTS]
    assert shown == ["2.5 M", "2.5 M", "2.384 MiB", "2500000 ms"]
