"""Joint models whose offset is not trained but set, for tests of the zero point and of its use on tables."""

from pathlib import Path

import numpy as np

RANGES = {"g_mag": [9.0, 16.5], "bp_rp": [0.7, 3.0], "teff": [3700.0, 5800.0]}


def offset_model(offset: str = "multivariate"):
    """A model with a zero point that bends by some 100 uas over `RANGES`; spectra have 64 pixels only."""
    from apogaia.model import networks
    from apogaia.survey import load_survey

    model = networks.build_joint_network(
        load_survey("smoke").network,
        offset,
        mean_spectrum=np.ones(64, "float32"),
        parallax_scale=1.4,
        offset_mean=(11.6, 1.35, 4850.0),
        offset_sd=(1.2, 0.48, 425.0),
    )
    rng = np.random.default_rng(1)
    network = model.get_layer("offset")
    for name, sd in (("offset_hidden_1", 0.3), ("offset_hidden_2", 0.25), ("scaled_offset", 0.02)):
        layer = network.get_layer(name)
        layer.set_weights([rng.normal(0, sd, weights.shape) for weights in layer.get_weights()])
    return model


def save_offset_model(path: Path, offset: str = "multivariate", **changes) -> Path:
    """A model file with what `apogaia zeropoint` reads of its provenance."""
    from apogaia.model.model_file import save_model
    from apogaia.survey import load_survey

    settings = load_survey("smoke").settings()
    provenance = {"survey": "smoke", "offset": offset, "settings": settings, "training_range": RANGES}
    save_model(offset_model(offset), path, provenance | changes)
    return path
