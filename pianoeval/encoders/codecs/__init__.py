"""Encoders of neural codecs: DAC, and Jukebox's VQ-VAE."""
