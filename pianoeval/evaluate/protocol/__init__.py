"""Who is tested on what: groups, folds, leak audit, baselines and controls."""
