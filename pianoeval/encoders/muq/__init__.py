"""MuQ: a conformer over mel spectrograms."""
