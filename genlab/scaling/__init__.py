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
from genlab.scaling.approaches.compare import compare_approaches
from genlab.scaling.approaches.comparison import Comparison
from genlab.scaling.approaches.envelope import envelope
from genlab.scaling.approaches.isoflop import IsoFlop, isoflop_minima, optimal_exponent
from genlab.scaling.approaches.power_laws import PowerLaw, power_law
from genlab.scaling.compute_optimal import ComputeOptimal
from genlab.scaling.cost import Cost
from genlab.scaling.emergence.abilities import read_abilities
from genlab.scaling.emergence.analysis import Emergence, Verdicts
from genlab.scaling.families import ByFamily, Families, Family, load_analysis
from genlab.scaling.fitting.fit_law import fit_law
from genlab.scaling.fitting.fitted import Fit
from genlab.scaling.fitting.influence import influence, with_and_without
from genlab.scaling.fitting.profile import profile_interval
from genlab.scaling.forecasts.backtest import Backtest, backtest
from genlab.scaling.forecasts.chain import Chain, fit_chain
from genlab.scaling.forecasts.forecast import forecast
from genlab.scaling.forecasts.groups import fit_by
from genlab.scaling.law import Law, Parameter
from genlab.scaling.laws import LAWS, get_law
from genlab.scaling.runs import Runs, read_runs
from genlab.scaling.simulate import planned_grid, simulate

fit = fit_law

__all__ = [
    "LAWS",
    "Analysis",
    "Backtest",
    "ByFamily",
    "Chain",
    "Comparison",
    "ComputeOptimal",
    "Cost",
    "Emergence",
    "Families",
    "Family",
    "Fit",
    "IsoFlop",
    "Law",
    "Parameter",
    "PowerLaw",
    "Runs",
    "Verdicts",
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
    "load_analysis",
    "optimal_exponent",
    "planned_grid",
    "power_law",
    "profile_interval",
    "read_abilities",
    "read_runs",
    "simulate",
    "with_and_without",
]
