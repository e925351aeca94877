"""Emergence: abilities against scale, and whether they come suddenly, gradually, only in the metric, or not at all.

    found = Emergence().run(read_runs("runs/emergence/runs.csv", needed=("params", "loss")))
    found.verdicts["unscrambling_6"].kind, found.verdicts["unscrambling_6"].words
    Emergence().analyse(read_abilities("TABLE.csv", tasks="acc_*", chance="0.25"))
"""
