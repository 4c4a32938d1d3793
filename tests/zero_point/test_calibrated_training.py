"""The network that is trained with the refitted zero point."""

import dataclasses

from apogaia.survey import load_survey
from apogaia.zero_point.calibrated_training import network_settings

SURVEY = load_survey("dr14")


def test_the_network_has_the_calibrations_settings_and_the_surveys_others():
    made, settings = network_settings(SURVEY), SURVEY.calibration
    changed = {"dropout"}
    assert made.network.dropout == settings.dropout != SURVEY.network.dropout
    same = dataclasses.asdict(SURVEY.network).items() - {("dropout", SURVEY.network.dropout)}
    assert same <= {(key, value) for key, value in dataclasses.asdict(made.network).items() if key not in changed}
    assert made.training == dataclasses.replace(
        SURVEY.training,
        epochs=settings.epochs,
        learning_rate_without_offset=settings.learning_rate,
        plateau_patience=settings.plateau_patience,
        contaminant_fraction=settings.contaminant_fraction,
        contaminant_width=settings.contaminant_width,
    )
    assert dataclasses.replace(made, network=SURVEY.network, training=SURVEY.training) == SURVEY
