"""Orders of convergence: normal data, the exact score, the true terminal distribution, float64.

The error is that of the covariance at the path's start, on a grid uniform in log-SNR; each order is read off steps
that are doubled where the error falls as a power.
"""

import numpy as np
import pytest

from genlab.diffusion.grids import UniformLogSnr, UniformTime
from genlab.diffusion.paths import EDM, VE, VP, Flow, SubVP
from genlab.diffusion.samplers import Ddim, DpmSolverPlusPlus, Heun, RungeKutta4, Sampler
from tests.diffusion.affine import error, moments_at, propagated

pytestmark = pytest.mark.usefixtures("float64")

SOLVERS = {
    "ddim": (Ddim(), 1, 640),
    "heun": (Heun(), 2, 320),
    "heun in time": (Heun("time"), 2, 320),
    "dpm": (DpmSolverPlusPlus(), 2, 640),
    "rk4": (RungeKutta4(), 4, 240),
}
PATHS = {"vp": VP(), "sub_vp": SubVP(), "ve": VE(), "flow": Flow(), "edm": EDM()}


def covariance_error(solver, path, steps, grid):
    sampler = Sampler(solver, steps, grid=grid, denoise=False)
    return error(propagated(sampler, path, *moments_at(path, path.end))[1], moments_at(path, path.start)[1])


@pytest.mark.parametrize(("solver", "path"), [
    *[(solver, path) for solver in ("ddim", "heun", "dpm", "rk4") for path in PATHS], ("heun in time", "vp"),
])
def test_order_of_convergence(solver, path):
    scheme, order, steps = SOLVERS[solver]
    coarse, fine = (covariance_error(scheme, PATHS[path], n, UniformLogSnr()) for n in (steps, 2 * steps))
    assert fine > 1e-12, "rounding, not the solver's error"
    assert np.log2(coarse / fine) == pytest.approx(order, abs=0.05)


def test_dpm_solver_wants_a_grid_in_log_snr():
    """20 steps uniform in time err several times as much."""
    grids = (UniformTime(), UniformLogSnr())
    uniform, log_snr = (covariance_error(DpmSolverPlusPlus(), VP(), 20, grid) for grid in grids)
    assert uniform > 4 * log_snr
