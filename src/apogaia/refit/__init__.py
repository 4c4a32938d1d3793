"""The zero point without a network: spectral features, least squares, the decline of the stellar density."""
