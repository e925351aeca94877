"""The laws: each one formula, its parameters with their ranges and scales, and its citation.

To add a law, write a `Law` in the file of its kind and list it in `LAWS`.
"""

import difflib

from genlab.scaling.law import Law
from genlab.scaling.laws.joint import BUSBRIDGE, CHINCHILLA, KAPLAN

LAWS: dict[str, Law] = {law.name: law for law in (CHINCHILLA, KAPLAN, BUSBRIDGE)}


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
