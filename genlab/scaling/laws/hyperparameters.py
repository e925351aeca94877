"""Optimal learning rate, batch size, parameters and tokens as powers of size, data and compute.

Exponents may have either sign. Batch sizes are in tokens a step where the published constants are used;
a table in sequences gives a coefficient in sequences.
"""

import numpy as np

from genlab.scaling.law import Law, Parameter, exp
from genlab.scaling.laws.kaplan_set import PF_DAY

_EXPONENT_BOUNDS = (-5.0, 5.0)


def _powers(
    name: str, response: str, unit: str, exponents: dict[str, str], citation: str, published: tuple[float, ...]
) -> Law:
    """response = coefficient * product of input^exponent: a plane in logarithms.

    Args:
      name, response, citation: of the law.
      unit: of the response.
      exponents: input column -> name of its exponent.
      published: the coefficient and the exponents, in that order.
    """
    inputs = tuple(exponents)
    powers = tuple(
        Parameter(symbol, f"exponent of the {response} in {column}", (-1.0, 1.0), _EXPONENT_BOUNDS, "linear")
        for column, symbol in exponents.items()
    )

    def formula(p, x):
        return p.k * exp(sum(getattr(p, symbol) * getattr(x, column).log for column, symbol in exponents.items()))

    def guess(rng: np.random.Generator, count: int, x, measured: np.ndarray) -> dict:
        # The plane of least squares, and planes near it through the table's centre.
        logs = np.stack([getattr(x, column).log for column in inputs])
        centre, target = logs.mean(axis=1), np.log(measured)
        slopes = np.linalg.lstsq((logs - centre[:, None]).T, target - target.mean(), rcond=None)[0]
        spread = rng.normal(0.0, 0.2, (count, len(inputs))) * (np.arange(count) > 0)[:, None]
        drawn = np.clip(slopes + spread, *_EXPONENT_BOUNDS)
        coefficient = np.exp(np.clip(target.mean() - drawn @ centre, -460.0, 460.0))
        return {"k": coefficient, **dict(zip(exponents.values(), drawn.T, strict=True))}

    def inverse(p, value, x, wanted: str):
        others = sum(getattr(p, exponents[column]) * getattr(x, column).log for column in inputs if column != wanted)
        return np.exp((np.log(value) - np.log(p.k) - others) / getattr(p, exponents[wanted]))

    return Law(
        name=name,
        text=f"{response} = k " + " ".join(f"{column}^{symbol}" for column, symbol in exponents.items()),
        citation=citation,
        inputs=inputs,
        parameters=(Parameter("k", f"{unit} where every input is 1", (1e-6, 1e6), (1e-200, 1e200)), *powers),
        formula=formula,
        linear=("k",),
        guess=guess,
        inverse=inverse,
        response=response,
        published=dict(zip(("k", *exponents.values()), published, strict=True)),
    )


_PORIAN = (
    "Porian et al. 2024 (arXiv 2406.19146): AdamW at 20 tokens a parameter, N with the head and without embeddings, "
    "5e6 to 2e8"
)
_STEP_LAW = "Li et al. 2025 (arXiv 2503.04715), step law: N without embeddings"
_DEEPSEEK = (
    "DeepSeek-AI 2024 (arXiv 2401.02954), equation 1: C is tokens times FLOPs a token, with attention, without "
    "embeddings"
)
_TOKENS, _RATE = "tokens a step", "learning rate"

LEARNING_RATE_OF_PARAMS = _powers(
    "learning_rate_of_params", "learning_rate", _RATE, {"params": "a"}, _PORIAN, (3.7, -0.36))  # fmt: skip
# 0.00037 N^0.703 sequences of 2,048 tokens.
BATCH_SIZE_OF_PARAMS = _powers(
    "batch_size_of_params", "batch_size", _TOKENS, {"params": "a"}, _PORIAN, (0.00037 * 2048, 0.703))  # fmt: skip
LEARNING_RATE_OF_PARAMS_TOKENS = _powers(
    "learning_rate_of_params_tokens", "learning_rate", _RATE, {"params": "a", "tokens": "b"}, _STEP_LAW,
    (1.79, -0.713, 0.307))  # fmt: skip
BATCH_SIZE_OF_PARAMS_TOKENS = _powers(
    "batch_size_of_params_tokens", "batch_size", _TOKENS, {"params": "a", "tokens": "b"},
    f"{_STEP_LAW}; no dependence on N was found", (0.58, 0.0, 0.571))  # fmt: skip
LEARNING_RATE_OF_FLOPS = _powers(
    "learning_rate_of_flops", "learning_rate", _RATE, {"flops": "a"}, _DEEPSEEK, (0.3118, -0.1250))  # fmt: skip
BATCH_SIZE_OF_FLOPS = _powers(
    "batch_size_of_flops", "batch_size", _TOKENS, {"flops": "a"}, _DEEPSEEK, (0.2920, 0.3271))  # fmt: skip
OPTIMAL_PARAMS = _powers(
    "optimal_params", "params", "parameters", {"flops": "a"},
    "Kaplan et al. 2020 (arXiv 2001.08361), section 6.1: 1.3e9 C_min^0.73 with C_min in PF-days",
    (1.3e9 * PF_DAY**-0.73, 0.73))  # fmt: skip
OPTIMAL_TOKENS = _powers(
    "optimal_tokens", "tokens", "tokens", {"flops": "a"},
    "DeepSeek-AI 2024 (arXiv 2401.02954), equation 4: D_opt = 5.8316 C^0.4757", (5.8316, 0.4757))  # fmt: skip

HYPERPARAMETER_LAWS = (
    LEARNING_RATE_OF_PARAMS,
    BATCH_SIZE_OF_PARAMS,
    LEARNING_RATE_OF_PARAMS_TOKENS,
    BATCH_SIZE_OF_PARAMS_TOKENS,
    LEARNING_RATE_OF_FLOPS,
    BATCH_SIZE_OF_FLOPS,
    OPTIMAL_PARAMS,
    OPTIMAL_TOKENS,
)
