"""What a training run costs: FLOPs as a function of parameters and tokens."""

import dataclasses

import numpy as np

from genlab.scaling.runs import FLOPS_PER_PARAM_TOKEN, Runs

_OTHER_UNITS = 30.0  # times the other rows' FLOPs: a mistake of units


@dataclasses.dataclass(frozen=True)
class Cost:
    """Training compute C = constant * N**params_exponent * D.

    The default is C = 6 N D (Kaplan et al. 2020, section 2.1). Counted FLOPs of small models deviate:
    embeddings cost no FLOPs, attention and the output layer do; `Cost.of` fits what a table says.

    Attributes:
      constant: FLOPs per parameter (to the power below) and token.
      params_exponent: 1 for 6 N D.
    """

    constant: float = FLOPS_PER_PARAM_TOKEN
    params_exponent: float = 1.0

    @classmethod
    def of(cls, runs: Runs, tolerance: float = 0.02) -> "Cost":
        """The cost that a table's `flops` column states; 6 N D where it says so or says nothing.

        Args:
          runs: a table with params and tokens.
          tolerance: a table whose FLOPs are within this share of 6 N D is taken to mean 6 N D.
        """
        log_params = np.log(runs.column("params"))
        with np.errstate(invalid="ignore", divide="ignore"):
            log_rate = np.log(runs.column("flops") / runs.column("tokens"))
        ok = np.isfinite(log_rate)
        if ok.any():  # rows in other units say nothing about the rule
            ratio = log_rate - log_params
            ok &= np.abs(ratio - np.median(ratio[ok])) < np.log(_OTHER_UNITS)
        log_params, log_rate = log_params[ok], log_rate[ok]
        if not ok.any():
            return cls()
        excess = log_rate - log_params - np.log(FLOPS_PER_PARAM_TOKEN)
        if np.max(np.abs(excess)) <= tolerance:
            return cls()
        if np.ptp(log_params) == 0:
            return cls(constant=float(np.exp(np.mean(log_rate - log_params))))
        exponent, intercept = np.polyfit(log_params, log_rate, 1)
        return cls(constant=float(np.exp(intercept)), params_exponent=float(exponent))

    def flops(self, params, tokens):
        """Training FLOPs of a run with `params` parameters on `tokens` tokens."""
        return self.constant * np.asarray(params, dtype=np.float64) ** self.params_exponent * tokens

    def tokens(self, flops, params):
        """Tokens that `flops` FLOPs pay for at `params` parameters."""
        return flops / self.flops(params, 1.0)

    def __str__(self) -> str:
        if self.params_exponent == 1.0:
            return f"C = {self.constant:.4g} N D"
        return f"C = {self.constant:.4g} N^{self.params_exponent:.3f} D"
