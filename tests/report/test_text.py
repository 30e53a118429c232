"""Numbers as a person reads them."""

import pytest

from fedsyn.report.text import duration, time_in_words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.26, "0.3 s"), (9.99, "10.0 s"), (12.4, "12 s"), (59.4, "59 s"), (61, "0:01:01"), (3723, "1:02:03")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_what_is_not_in_stages_is_told_apart():
    assert time_in_words(50, 48) == (
        "50 s, of which 48 s in stages; Prefect, the store and what is shown took 2.0 s (4.0\u202f%)"
    )
