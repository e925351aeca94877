"""Many experiments: what is to be run, the record of each run, the folder of a sweep, and where runs happen."""

from genlab.sweeps.record import RunRecord
from genlab.sweeps.sweep import Sweep

__all__ = ["RunRecord", "Sweep"]
