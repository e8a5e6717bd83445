"""What is computed of ratings and predictions: metrics, ceilings, intervals, tests."""
