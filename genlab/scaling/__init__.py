"""From a table of runs to knowledge: laws, fits with intervals, forecasts, compute-optimal sizes.

    runs = genlab.scaling.read_runs("runs/quickstart/runs.csv")
    fit = genlab.scaling.fit("kaplan", runs.grid)
    fit.interval("alpha_N"), fit.warnings, fit.allocate(flops=1e21)
"""

from genlab.scaling.fitted import Fit
from genlab.scaling.fitting import fit_law
from genlab.scaling.law import Law, Parameter
from genlab.scaling.laws import CHINCHILLA, KAPLAN, LAWS, get_law
from genlab.scaling.runs import Runs, read_runs

fit = fit_law
