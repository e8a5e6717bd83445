"""Where and why models err: calibration, residuals, groups, pairs, latent maps."""
