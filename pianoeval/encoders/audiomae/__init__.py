"""Audio-MAE: a vision transformer over spectrogram patches."""
