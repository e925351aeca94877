"""Numbers and formulas as HTML."""

import pytest

from genlab.figures import markup
from genlab.scaling.laws import CHINCHILLA, KAPLAN


@pytest.mark.parametrize(
    "value, text",
    [
        (1.23456, "1.235"),
        (0.5, "0.5000"),
        (12_345.6, "12,346"),
        (0, "0"),
        (-0.25, "&minus;0.2500"),
        (1.5e6, "1.500&thinsp;×&thinsp;10<sup>6</sup>"),
        (3.2e-7, "3.200&thinsp;×&thinsp;10<sup>&minus;7</sup>"),
        (float("inf"), "&infin;"),
        (float("nan"), str(markup.NOT_KNOWN)),
        (None, str(markup.NOT_KNOWN)),
    ],
)
def test_a_number(value, text):
    assert markup.number(value) == text


def test_quantities_percents_intervals_and_durations():
    assert markup.quantity(124e6) == "124M"
    assert markup.quantity(None) == markup.NOT_KNOWN
    assert markup.percent(-0.0141) == "&minus;1.4&thinsp;%"
    assert markup.percent(0.02, 2) == "+2.00&thinsp;%"
    assert markup.interval((1.0, 2.0), 3) == "1.00 to 2.00"
    assert markup.interval((1e6, 2e9), form=markup.quantity) == "1M to 2B"
    assert markup.interval(None) == markup.interval((float("nan"), 1.0)) == markup.NOT_KNOWN
    assert markup.duration(31) == "31.0&thinsp;s"
    assert markup.duration(200) == "3.3&thinsp;min"
    assert markup.duration(2e4) == "5.6&thinsp;h"


def test_formulas_of_the_laws():
    assert markup.formula(CHINCHILLA.text) == (
        "<i>L</i> = <i>E</i> + <i>A</i>/<i>N</i><sup><i>α</i></sup> + <i>B</i>/<i>D</i><sup><i>β</i></sup>"
    )
    assert "<sup><i>α</i><sub>N</sub>/<i>α</i><sub>D</sub></sup>" in markup.formula(KAPLAN.text)


def test_a_formula_with_its_numbers():
    values = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
    with_numbers = markup.formula(CHINCHILLA.text, values)
    assert with_numbers == ("<i>L</i> = 1.69 + 406/<i>N</i><sup>0.340</sup> + 411/<i>D</i><sup>0.280</sup>")


def test_names_are_escaped():
    assert "<b>" not in markup.symbol("<b>")
    assert "<b" not in markup.formula("a<b + 1")
