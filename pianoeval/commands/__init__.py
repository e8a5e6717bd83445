"""Commands of ``pianoeval`` that have a module of their own; ``pianoeval.cli`` joins them."""
