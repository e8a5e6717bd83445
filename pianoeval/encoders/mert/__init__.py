"""MERT: a HuBERT that learned music."""
