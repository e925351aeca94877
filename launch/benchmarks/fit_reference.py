"""What is usually done to fit Chinchilla's law: SciPy's L-BFGS-B, in the form of Hoffmann et al. 2022.

Section 3.3 and appendix D.2 there: minimise sum_i Huber_1e-3(LSE(a - alpha log N_i, b - beta log D_i, e) - log L_i)
over (a, b, e, alpha, beta), from every point of a grid of starts. Besiroglu et al. 2024 (arXiv 2404.10102) found
that it has to be the sum and not the mean. The gradient is given in closed form here, which makes it about six
times as fast as with SciPy's own finite differences.
"""

import itertools

import numpy as np
from scipy.optimize import OptimizeResult, minimize

GRID = np.array(list(itertools.product(
    (0.0, 5.0, 10.0, 15.0, 20.0, 25.0), (0.0, 5.0, 10.0, 15.0, 20.0, 25.0), (-1.0, -0.5, 0.0, 0.5, 1.0),
    (0.0, 0.5, 1.0, 1.5, 2.0), (0.0, 0.5, 1.0, 1.5, 2.0))))  # fmt: skip
_OPTIONS = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 15_000, "maxfun": 15_000}


class Reference:
    """The objective on one table: logarithms of params, tokens and loss, [rows] each."""

    def __init__(self, log_params: np.ndarray, log_tokens: np.ndarray, log_loss: np.ndarray, delta: float):
        self.log_params, self.log_tokens, self.log_loss, self.delta = log_params, log_tokens, log_loss, delta

    def __call__(self, at: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """(objective, gradient) at (a, b, e, alpha, beta)."""
        a, b, e, alpha, beta = at
        terms = np.stack([a - alpha * self.log_params, b - beta * self.log_tokens, np.full(len(weights), e)])
        highest = terms.max(axis=0)
        shares = np.exp(terms - highest)
        total = shares.sum(axis=0)
        residual = highest + np.log(total) - self.log_loss
        inside = np.clip(residual, -self.delta, self.delta)
        pull = weights * inside * (shares / total)
        gradient = pull.sum(axis=1)
        slopes = (-pull[0] @ self.log_params, -pull[1] @ self.log_tokens)
        return float(np.sum(weights * inside * (residual - 0.5 * inside))), np.array([*gradient, *slopes])

    def minimise(self, start: np.ndarray, weights: np.ndarray) -> OptimizeResult:
        """One run of L-BFGS-B with room to finish.

        SciPy's own `ftol` of 2.2e-9 is relative to max(|f|, 1): at an objective of 1e-3 it stops a bootstrap
        refit where it starts.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return minimize(self, start, args=(weights,), jac=True, method="L-BFGS-B", options=_OPTIONS)
