"""Laws of one variable, L(x): x is a number of parameters, tokens, examples, steps or FLOPs, L the loss.

`power`, `power_floor`, `power_shift` and `saturating` are the estimators M1 to M4 that Alabdulmohsin et al.
2022 (arXiv 2209.06640) compare on learning curves; `zhai` is Zhai et al. 2021's law of a compute frontier, and
`smoothly_broken(n)` is Caballero et al. 2022's.
"""

import functools

import jax
import numpy as np

from genlab.scaling.law import Law, Parameter, exp, log, power
from genlab.scaling.laws.terms import FLOOR, coefficient, exponent, solve_power

_NEWTON_STEPS = 8  # to the solution of M4 at rounding, for alpha from 0.01 to 100: see `_logit`
MOST_BREAKS = 9


def _power(p, x):
    return p.A * x.x**-p.alpha


def _power_inverse(p, loss, x, wanted: str):
    return solve_power(np.log(p.A), p.alpha, loss)


POWER = Law(
    name="power",
    text="L = A/x^alpha",
    citation="Alabdulmohsin et al. 2022 (arXiv 2209.06640), estimator M1; published: Kaplan et al. 2020 "
    "(arXiv 2001.08361), equation 1.2, x = tokens",
    inputs=("x",),
    parameters=(
        coefficient("A", "loss x x^alpha"),
        exponent("alpha", "how fast the loss falls with x"),
    ),
    formula=_power,
    linear=("A",),
    inverse=_power_inverse,
    published={"A": 5.4e13**0.095, "alpha": 0.095},
)


def _power_floor(p, x):
    return p.E + p.A * x.x**-p.alpha


def _power_floor_inverse(p, loss, x, wanted: str):
    return solve_power(np.log(p.A), p.alpha, loss - p.E)


POWER_FLOOR = Law(
    name="power_floor",
    text="L = E + A/x^alpha",
    citation="Alabdulmohsin et al. 2022 (arXiv 2209.06640), estimator M2; published: the data term of Hoffmann "
    "et al. 2022 (arXiv 2203.15556), equation 10, of an infinite model, x = tokens",
    inputs=("x",),
    parameters=(FLOOR, *POWER.parameters),
    formula=_power_floor,
    linear=("E", "A"),
    inverse=_power_floor_inverse,
    published={"E": 1.69, "A": 410.7, "alpha": 0.28},
)


def _power_shift(p, x):
    return p.beta * (x.x**-1.0 + p.gamma) ** p.c


def _power_shift_guess(rng: np.random.Generator, count: int, x, loss: np.ndarray) -> dict:
    """gamma between a hundredth of the smallest and all of the largest 1/x of the table."""
    low, high = -x.x.log.max() - np.log(100.0), -x.x.log.min()
    return {"gamma": np.exp(rng.uniform(low, high, count))}


def _power_shift_inverse(p, loss, x, wanted: str):
    return solve_power(0.0, 1.0, (loss / p.beta) ** (1.0 / p.c) - p.gamma)


POWER_SHIFT = Law(
    name="power_shift",
    text="L = beta (1/x + gamma)^c",
    citation="Alabdulmohsin et al. 2022 (arXiv 2209.06640), estimator M3",
    inputs=("x",),
    parameters=(
        coefficient("beta", "loss x x^c"),
        Parameter(
            "gamma",
            "shift of 1/x, in 1/(unit of x): the loss of infinite x is that of a power law at 1/gamma",
            start=(1e-12, 1e-3),
            bounds=(1e-40, 1e10),
        ),
        exponent("c", "how fast the loss falls with x while x << 1/gamma"),
    ),
    formula=_power_shift,
    linear=("beta",),
    guess=_power_shift_guess,
    inverse=_power_shift_inverse,
)


def _zhai(p, x):
    return p.E + p.b * power(x.x.value + p.d, -p.c)


def _zhai_guess(rng: np.random.Generator, count: int, x, loss: np.ndarray) -> dict:
    """d from a hundredth of the smallest x of the table, where it bends nothing, to the largest."""
    return {"d": np.exp(rng.uniform(x.x.log.min() - np.log(100.0), x.x.log.max(), count))}


def _zhai_inverse(p, loss, x, wanted: str):
    shifted = solve_power(np.log(p.b), p.c, loss - p.E)
    return np.where(shifted > p.d, shifted - p.d, np.nan)


ZHAI = Law(
    name="zhai",
    text="L = E + b/(x + d)^c",
    citation="Zhai et al. 2021 (arXiv 2106.04560), section 2, the law of the compute frontier that saturates at both "
    "ends, with E for its a; published: figure 2, ImageNet error after fine-tuning, x = TPUv3 core-days",
    inputs=("x",),
    parameters=(
        FLOOR,
        coefficient("b", "loss x x^c"),
        Parameter(
            "d",
            "shift of x, in its unit: for x << d the loss is near E + b/d^c, that of a model that has learnt nothing",
            start=(1e3, 1e12),
            bounds=(1e-40, 1e60),
        ),
        exponent("c", "how fast the loss falls to E with x >> d"),
    ),
    formula=_zhai,
    linear=("E", "b"),
    guess=_zhai_guess,
    inverse=_zhai_inverse,
    published={"E": 0.09, "b": 0.26, "d": 0.01, "c": 0.35},
)


def _softplus(z):
    """log(1 + exp(z)) without overflow, with derivatives that JAX gets right everywhere."""
    return jax.nn.softplus(z) if isinstance(z, jax.Array) else np.logaddexp(0.0, z)


def _sigmoid(z):
    return exp(-_softplus(-z))


def _logit(target, alpha):
    """z with log sigmoid(z) - alpha log sigmoid(-z) = target, for alpha > 0.

    The left side rises with a slope between alpha and 1 that changes in one direction only, so Newton's
    method converges from anywhere. JAX would differentiate all its steps; instead they run on constants,
    and z is then written as its second-order Taylor polynomial there, whose first and second
    derivatives are those of the solution.
    """
    if not isinstance(target, jax.Array):
        return _solve_logit(np, target, alpha)
    t, a = jax.lax.stop_gradient((target, alpha))
    z = _solve_logit(jax.numpy, t, a)
    rising, falling, bent = _sigmoid(z), _sigmoid(-z), _softplus(z)
    slope = falling + a * rising
    curvature = (a - 1.0) * rising * falling
    by_t, by_a = 1.0 / slope, -bent / slope
    by_tt = -curvature * by_t**2 / slope
    by_ta = -(curvature * by_a + rising) * by_t / slope
    by_aa = -(curvature * by_a + 2.0 * rising) * by_a / slope
    dt, da = target - t, alpha - a
    return z + dt * (by_t + 0.5 * by_tt * dt + by_ta * da) + da * (by_a + 0.5 * by_aa * da)


def _solve_logit(numpy, target, alpha):
    """Newton's steps of `_logit`, from the asymptotes: z = target below 0, target/alpha above."""
    z = numpy.minimum(target, 0.0) + numpy.maximum(target, 0.0) / alpha
    for _ in range(_NEWTON_STEPS):
        small = numpy.exp(-numpy.abs(z))  # one exponential a step: softplus and sigmoid of both signs
        bend, smaller = numpy.log1p(small), small / (1.0 + small)
        left = alpha * (numpy.maximum(z, 0.0) + bend) - (numpy.maximum(-z, 0.0) + bend)
        rising = numpy.where(z > 0, 1.0 - smaller, smaller)
        z = z - (left - target) / (1.0 - rising + alpha * rising)
    return z


def _saturating(p, x):
    z = _logit(p.c * (log(p.d) - x.x.log), p.alpha)
    return p.E * _sigmoid(-z) + p.L_0 * _sigmoid(z)


def _saturating_guess(rng: np.random.Generator, count: int, x, loss: np.ndarray) -> dict:
    """d from a hundredth of the smallest to ten times the largest x of the table."""
    low, high = x.x.log.min() - np.log(100.0), x.x.log.max() + np.log(10.0)
    return {"d": np.exp(rng.uniform(low, high, count))}


def _saturating_inverse(p, loss, x, wanted: str):
    with np.errstate(invalid="ignore", divide="ignore"):
        above, below = loss - p.E, p.L_0 - loss
        span = p.L_0 - p.E
        target = np.log(above / span) - p.alpha * np.log(below / span)
        return np.where((above > 0) & (below > 0), p.d * np.exp(-target / p.c), np.nan)


SATURATING = Law(
    name="saturating",
    text="(L - E)/(L_0 - L)^alpha = beta/x^c, with beta = (L_0 - E)^(1 - alpha) d^c",
    citation="Alabdulmohsin et al. 2022 (arXiv 2209.06640), estimator M4; written with d in place of beta, so "
    "that the loss is linear in E and L_0",
    inputs=("x",),
    parameters=(
        FLOOR,
        Parameter(
            "L_0",
            "loss of a model that has learnt nothing (of guessing), in the unit of the loss",
            start=(1.0, 2.0),
            bounds=(1e-12, 1e12),
        ),
        Parameter(
            "d",
            "where the curve bends, in the unit of x: for x << d the loss is near L_0, for x >> d a power law",
            start=(1e3, 1e12),
            bounds=(1e-40, 1e60),
        ),
        Parameter("alpha", "how slowly the loss leaves L_0: L_0 - L goes as x^(c/alpha)", (0.1, 3.0), (0.01, 100.0)),
        exponent("c", "how fast the loss falls to E with x >> d"),
    ),
    formula=_saturating,
    linear=("E", "L_0"),
    guess=_saturating_guess,
    inverse=_saturating_inverse,
)


def smoothly_broken(breaks: int) -> Law:
    """The smoothly broken power law with some number of breaks, named broken_1, broken_2, ...

    Raises:
      ValueError: no break, or more than nine.
    """
    if not 1 <= breaks <= MOST_BREAKS:
        raise ValueError(f"a smoothly broken power law has 1 to {MOST_BREAKS} breaks, not {breaks}")
    return _smoothly_broken(breaks)


@functools.cache
def _smoothly_broken(breaks: int) -> Law:
    def formula(p, x):
        of = vars(p)
        logarithm = -p.c0 * x.x.log
        for i in range(1, breaks + 1):
            width = of[f"f{i}"]
            bent = _softplus((x.x.log - log(of[f"d{i}"])) / width)
            logarithm = logarithm - of[f"c{i}"] * width * bent
        return p.E + p.b * exp(logarithm)

    def guess(rng: np.random.Generator, count: int, x, loss: np.ndarray) -> dict:
        """Breaks at random places of the table's range of log x, in order."""
        low, high = x.x.log.min(), x.x.log.max()
        places = np.sort(rng.uniform(low, high, (breaks, count)), axis=0)
        return {f"d{i}": np.exp(place) for i, place in enumerate(places, start=1)}

    parameters = [
        FLOOR,
        coefficient("b", "loss x x^c0: height of the first power law"),
        Parameter("c0", "exponent of the first power law", (0.0, 1.0), (-5.0, 5.0), scale="linear"),
    ]
    for i in range(1, breaks + 1):
        parameters += [
            Parameter(f"c{i}", f"by how much the exponent grows at break {i}", (-0.5, 1.5), (-10.0, 10.0), "linear"),
            Parameter(f"d{i}", f"place of break {i}, in the unit of x", (1e3, 1e12), (1e-40, 1e60)),
            Parameter(f"f{i}", f"width of break {i} in log x: smaller is sharper", (0.1, 2.0), (0.01, 10.0)),
        ]
    terms = "".join(f" (1 + (x/d{i})^(1/f{i}))^(-c{i} f{i})" for i in range(1, breaks + 1))
    return Law(
        name=f"broken_{breaks}",
        text=f"L = E + b/x^c0{terms}",
        citation="Caballero et al. 2022 (arXiv 2210.14891), equation 1, with E for its a"
        + _PUBLISHED_FROM.get(breaks, ""),
        inputs=("x",),
        parameters=tuple(parameters),
        formula=formula,
        linear=("E", "b"),
        guess=guess,
        exchangeable=tuple((f"d{i}", f"c{i}", f"f{i}") for i in range(1, breaks + 1)),
        published=_PUBLISHED.get(breaks),
    )


_PUBLISHED_FROM = {
    1: "; published: the simulated 4-digit addition of the authors' released code, x = examples",
    3: "; published: figure 1, by the authors' released code",
}
_PUBLISHED = {
    1: {
        "E": 0.41388453071629455,
        "b": 2.2772722897737556,
        "c0": 0.055077348404973955,
        "c1": 5.662903816010331,
        "d1": 612.5836172918001,
        "f1": 0.059193036393742314,
    },
    3: {
        **{"E": 1e-3, "b": 4.66e3, "c0": 0.05, "c1": 0.49, "c2": -0.811, "c3": 2.1},
        **{"d1": 3e6, "d2": 1e14, "d3": 2e20, "f1": 1.1, "f2": 1.425, "f3": 0.05},
    },
}
SINGLE_LAWS = (POWER, POWER_FLOOR, POWER_SHIFT, SATURATING, ZHAI, *map(smoothly_broken, (1, 2, 3)))
