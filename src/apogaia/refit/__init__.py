"""The zero point without a network: spectral features, least squares, how the survey thins out with distance."""
