"""The laws: each one formula, its parameters with their ranges and scales, and its citation.

To add a law, write a `Law` in the file of its kind and list it in `LAWS`.
"""

import difflib

from genlab.scaling.law import Law
from genlab.scaling.laws.accuracy import ACCURACY_OF_FLOPS, ACCURACY_OF_LOSS
from genlab.scaling.laws.hyperparameters import HYPERPARAMETER_LAWS
from genlab.scaling.laws.joint import BUSBRIDGE, CHINCHILLA, KAPLAN
from genlab.scaling.laws.kaplan_set import KAPLAN_SET
from genlab.scaling.laws.overtraining import ERROR_OF_LOSS, OVERTRAINING
from genlab.scaling.laws.repeated import REPEATED

LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        *(CHINCHILLA, KAPLAN, BUSBRIDGE, OVERTRAINING, REPEATED),
        *KAPLAN_SET,
        *(ACCURACY_OF_LOSS, ACCURACY_OF_FLOPS, ERROR_OF_LOSS),
        *HYPERPARAMETER_LAWS,
    )
}


def get_law(law: str | Law) -> Law:
    """The law of that name (a `Law` is returned as it is).

    Raises:
      ValueError: no such law; the message gives the nearest name.
    """
    if isinstance(law, Law):
        return law
    if law not in LAWS:
        nearest = difflib.get_close_matches(str(law), LAWS, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there are: {', '.join(LAWS)}"
        raise ValueError(f"no law is called {law!r}; {hint}")
    return LAWS[law]
