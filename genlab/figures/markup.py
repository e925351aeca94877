"""Numbers and formulas as HTML."""

import math
import re
from typing import Any

from markupsafe import Markup, escape

from genlab.figures.style import count

NOT_KNOWN = Markup('<span class="na">n/a</span>')
_GREEK = {"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "kappa": "κ", "lambda": "λ"}


def is_known(value: Any) -> bool:
    """Whether a table's cell holds anything: not None, not empty, not NaN."""
    return value is not None and value != "" and value == value


def number(value: Any, digits: int = 4) -> Markup:
    """A number with so many significant digits; very large and very small ones as powers of ten."""
    if not is_known(value) or not math.isfinite(value):
        return NOT_KNOWN if not is_known(value) else Markup("&infin;" if value > 0 else "&minus;&infin;")
    if value == 0:
        return Markup("0")
    exponent = math.floor(math.log10(abs(value)))
    if -4 <= exponent < 6:
        decimals = max(0, digits - 1 - exponent)
        return Markup(f"{value:,.{decimals}f}".replace("-", "&minus;"))
    mantissa = f"{value / 10.0**exponent:.{digits - 1}f}".replace("-", "&minus;")
    return Markup(f"{mantissa}&thinsp;×&thinsp;10<sup>{exponent}</sup>".replace("<sup>-", "<sup>&minus;"))


def quantity(value: Any) -> Markup:
    """A number of parameters or tokens: 124M, 1.5B."""
    return Markup(count(float(value))) if is_known(value) else NOT_KNOWN


def percent(value: Any, digits: int = 1) -> Markup:
    """A relative error in percent, with its sign."""
    if not is_known(value) or not math.isfinite(value):
        return NOT_KNOWN
    return Markup(f"{100 * value:+.{digits}f}&thinsp;%".replace("-", "&minus;"))


def interval(ends: Any, digits: int = 4, form=number) -> Markup:
    """Two ends as "low to high"."""
    if ends is None or not all(is_known(end) and math.isfinite(end) for end in ends):
        return NOT_KNOWN
    low, high = (form(end, digits) if form is number else form(end) for end in ends)
    return Markup(f"{low} to {high}")


def duration(seconds: Any) -> Markup:
    """Seconds as 45 s, 3.2 min or 1.5 h."""
    if not is_known(seconds):
        return NOT_KNOWN
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return Markup(f"{seconds / size:.1f}&thinsp;{unit}")
    return Markup(f"{seconds:.1f}&thinsp;s")


def symbol(name: str) -> Markup:
    """A parameter's name: alpha_N becomes a Greek letter with an index."""
    base, _, index = name.partition("_")
    base = escape(_GREEK.get(base, base))
    return Markup(f"<i>{base}</i>") + (Markup(f"<sub>{escape(index)}</sub>") if index else "")


def formula(text: str, values: dict[str, float] | None = None) -> Markup:
    """A law's formula as HTML; with `values`, numbers in the place of parameters.

    Reads names, `^` before a name, a number or a parenthesis, and leaves all else as it is.
    """
    values = values or {}

    def word(match: re.Match) -> str:
        name = match.group()
        return str(number(values[name], 3)) if name in values else str(symbol(name))

    def raised(match: re.Match) -> str:
        inner = match.group(1)
        inner = inner[1:-1] if inner.startswith("(") else inner
        return "\x01" + inner + "\x02"

    text = re.sub(r"\^(\([^()]*\)|[\w.]+)", raised, text)
    html = "".join(
        word(match) if match.group()[0].isalpha() else str(escape(match.group()))
        for match in re.finditer(r"[A-Za-z]\w*|[^A-Za-z]+", text)
    )
    html = html.replace("\x01", "<sup>").replace("\x02", "</sup>")
    return Markup(html.replace(" - ", " &minus; "))
