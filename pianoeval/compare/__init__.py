"""Two runs side by side: paired differences with intervals, tests, and a verdict in words."""
