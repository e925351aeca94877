"""The laws: each one formula, its parameters with their ranges and scales, and its citation.

To add a law, write a `Law` in the file of its kind and list it in `LAWS`.
"""

import difflib

import numpy as np

from genlab.scaling.law import Law
from genlab.scaling.laws.accuracy import ACCURACY_OF_FLOPS, ACCURACY_OF_LOSS
from genlab.scaling.laws.hyperparameters import HYPERPARAMETER_LAWS
from genlab.scaling.laws.joint import BUSBRIDGE, CHINCHILLA, KAPLAN
from genlab.scaling.laws.kaplan_set import KAPLAN_SET
from genlab.scaling.laws.overtraining import ERROR_OF_LOSS, OVERTRAINING
from genlab.scaling.laws.repeated import REPEATED
from genlab.scaling.laws.single import SINGLE_LAWS, smoothly_broken
from genlab.scaling.runs import Runs

LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        *(CHINCHILLA, KAPLAN, BUSBRIDGE, OVERTRAINING, REPEATED),
        *KAPLAN_SET,
        *(ACCURACY_OF_LOSS, ACCURACY_OF_FLOPS, ERROR_OF_LOSS),
        *HYPERPARAMETER_LAWS,
        *SINGLE_LAWS,
    )
}
SINGLE = tuple(law.name for law in SINGLE_LAWS)  # laws of one variable, from simple to flexible


def get_law(law: str | Law) -> Law:
    """The law of that name (a `Law` is returned as it is); broken_N for any number of breaks up to 9.

    Raises:
      ValueError: no such law; the message gives the nearest name.
    """
    if isinstance(law, Law):
        return law
    breaks = str(law).removeprefix("broken_")
    if breaks != law and breaks.isdecimal():
        return smoothly_broken(int(breaks))
    if law not in LAWS:
        nearest = difflib.get_close_matches(str(law), LAWS, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there are: {', '.join(LAWS)}"
        raise ValueError(f"no law is called {law!r}; {hint}")
    return LAWS[law]


def candidates(runs: Runs) -> tuple[str, ...]:
    """The laws among which an analysis chooses by itself: those of params and tokens, or of x.

    Laws of repeated data only where the table says that data was repeated. Of one variable those with at most one
    break: each further one takes three more parameters, and as much time as all the others together. Not `zhai`
    either, which is for frontiers: of one run's curve `saturating` says the same with one parameter more, and what
    README reports of 92 learning curves was measured without it.

    Raises:
      ValueError: the table has neither.
    """
    if runs.has("x"):
        return tuple(name for name in SINGLE if name not in ("zhai", "broken_2", "broken_3"))
    if not (runs.has("params") and runs.has("tokens")):
        raise ValueError(
            f"{runs.source} has neither params and tokens nor x to choose a law for: name them with columns, "
            "or name a law"
        )
    names = [CHINCHILLA.name, KAPLAN.name, BUSBRIDGE.name, OVERTRAINING.name]
    if runs.has("unique_tokens") and np.any(runs.column("tokens") > 1.05 * runs.column("unique_tokens")):
        names.append(REPEATED.name)
    return tuple(names)
