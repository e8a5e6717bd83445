"""Losses of regression, batched over folds: what a perceptron minimises."""
