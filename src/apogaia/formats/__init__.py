"""File formats: releases, allStar and Gaia tables, apStar spectra, the pixel grid, streamed tables."""
