"""From a table of runs to knowledge: laws, fits with intervals, forecasts, compute-optimal sizes.

    runs = genlab.scaling.read_runs("runs/quickstart/runs.csv")
    fit = genlab.scaling.fit("kaplan", runs.grid)
    fit.interval("alpha_N"), fit.warnings, fit.allocate(flops=1e21)
    fit.predict(params=1e9, tokens=2e10), fit.predict_interval(params=1e9, tokens=2e10)
    fit.plot()

    genlab.scaling.backtest(("chinchilla", "kaplan"), runs.grid).scores
    genlab.scaling.compare_approaches(runs.grid).disagreements
    analysis = genlab.scaling.ComputeOptimal(budgets=(1e21,)).run(runs)
"""

from genlab.scaling.analysis import Analysis
from genlab.scaling.approaches import compare_approaches
from genlab.scaling.backtest import Backtest, backtest
from genlab.scaling.chain import Chain, fit_chain
from genlab.scaling.comparison import Comparison
from genlab.scaling.compute_optimal import ComputeOptimal
from genlab.scaling.cost import Cost
from genlab.scaling.envelope import envelope
from genlab.scaling.fitted import Fit
from genlab.scaling.fitting import fit_law
from genlab.scaling.forecasts import forecast
from genlab.scaling.groups import fit_by
from genlab.scaling.influence import influence, with_and_without
from genlab.scaling.isoflop import IsoFlop, isoflop_minima, optimal_exponent
from genlab.scaling.law import Law, Parameter
from genlab.scaling.laws import LAWS, get_law
from genlab.scaling.power_laws import PowerLaw, power_law
from genlab.scaling.profile import profile_interval
from genlab.scaling.runs import Runs, read_runs
from genlab.scaling.simulate import planned_grid, simulate

fit = fit_law

__all__ = [
    "LAWS",
    "Analysis",
    "Backtest",
    "Chain",
    "Comparison",
    "ComputeOptimal",
    "Cost",
    "Fit",
    "IsoFlop",
    "Law",
    "Parameter",
    "PowerLaw",
    "Runs",
    "backtest",
    "compare_approaches",
    "envelope",
    "fit",
    "fit_by",
    "fit_chain",
    "fit_law",
    "forecast",
    "get_law",
    "influence",
    "isoflop_minima",
    "optimal_exponent",
    "planned_grid",
    "power_law",
    "profile_interval",
    "read_runs",
    "simulate",
    "with_and_without",
]
