"""Numbers and settings as a person reads them. A narrow space binds units to numbers."""

from datetime import timedelta
from math import isinf, isnan
from typing import Any

DASH = "–"


def percent(share: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as per cent: 0.724 is `72.4 %`; a dash where there is none."""
    return DASH if share is None or isnan(share) else f"{100 * share:.{digits}f}\u202f%"


def points(difference: float | None, digits: int = 1) -> str:
    """A difference of shares in percentage points, signed: -0.418 is `−41.8`."""
    if difference is None or isnan(difference):
        return DASH
    text = f"{100 * difference:+.{digits}f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def count(number: float) -> str:
    """A whole number with separators of thousands."""
    return f"{number:,.0f}"


def measure(number: float) -> str:
    """Any other metric, to four significant digits."""
    if isinf(number):
        return "∞" if number > 0 else "−∞"
    return DASH if isnan(number) else count(number) if number == int(number) else f"{number:.4g}"


def plain_value(value: Any) -> str:
    """A configuration value as a person writes it."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(plain_value(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain_value(item)}" for name, item in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def duration(seconds: float | None) -> str:
    """`0.3 s`, `12 s`, `1:02:03`; nothing where it is not known."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return str(timedelta(seconds=round(seconds)))


def time_in_words(total: float, in_stages: float) -> str:
    """`64.0 s, of which 60.0 s in stages; Prefect, the store and what is shown took 4.0 s (6.2 %)`. In seconds."""
    rest = total - in_stages
    return (
        f"{duration(total)}, of which {duration(in_stages)} in stages; "
        f"Prefect, the store and what is shown took {duration(rest)} ({percent(rest / total)})"
    )


def shorten(name: str, longest: int = 14) -> str:
    """The name, or its beginning and an ellipsis."""
    return name if len(name) <= longest else name[: longest - 1].rstrip() + "…"
