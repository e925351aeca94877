"""From a law and a table to its minimum, with a certificate, intervals and warnings; `fit_law` is the way in."""
