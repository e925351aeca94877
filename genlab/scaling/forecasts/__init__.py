"""What laws say about runs that they did not see: held-out runs, rolling backtests, groups, accuracies."""
