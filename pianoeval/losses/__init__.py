"""Losses, batched over folds: of regression, of pairs and lists of takes, of codes."""
