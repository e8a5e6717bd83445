"""Heads on frames: convolutions over pitch contours or the frames of an encoder."""
