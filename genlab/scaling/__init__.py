"""From a table of runs to knowledge: laws, fits with intervals, forecasts, compute-optimal sizes.

    runs = genlab.scaling.read_runs("runs/quickstart/runs.csv")
    fit = genlab.scaling.fit("kaplan", runs.grid)
    fit.interval("alpha_N"), fit.warnings, fit.allocate(flops=1e21)
    fit.predict(params=1e9, tokens=2e10), fit.predict_interval(params=1e9, tokens=2e10)

    genlab.scaling.backtest(("chinchilla", "kaplan"), runs.grid).scores
    analysis = genlab.scaling.ComputeOptimal(budgets=(1e21,)).run(runs)
"""

from genlab.scaling.analysis import Analysis
from genlab.scaling.backtest import Backtest, backtest
from genlab.scaling.compute_optimal import ComputeOptimal
from genlab.scaling.cost import Cost
from genlab.scaling.fitted import Fit
from genlab.scaling.fitting import fit_law
from genlab.scaling.forecasts import forecast
from genlab.scaling.isoflop import IsoFlop, isoflop_minima, optimal_exponent
from genlab.scaling.law import Law, Parameter
from genlab.scaling.laws import BUSBRIDGE, CHINCHILLA, KAPLAN, LAWS, get_law
from genlab.scaling.runs import Runs, read_runs

fit = fit_law

__all__ = [
    "BUSBRIDGE",
    "CHINCHILLA",
    "KAPLAN",
    "LAWS",
    "Analysis",
    "Backtest",
    "ComputeOptimal",
    "Cost",
    "Fit",
    "IsoFlop",
    "Law",
    "Parameter",
    "Runs",
    "backtest",
    "fit",
    "fit_law",
    "forecast",
    "get_law",
    "isoflop_minima",
    "optimal_exponent",
    "read_runs",
]
