"""Survey files: the shipped ones load, wrong ones are refused with file and key."""

import dataclasses
import re
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from apogaia import files
from apogaia.survey import SECTIONS, SurveyError, load_survey, restore_survey, survey_names

SHIPPED = Path(str(resources.files("apogaia") / "surveys"))
NAMES = sorted(path.stem for path in SHIPPED.glob("*.toml"))


def test_the_shipped_surveys():
    assert survey_names() == NAMES
    assert {"smoke", "mock", "mock-dr14", "dr14", "dr17", "mock-dr17", "smoke-dr17"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_survey_loads(name):
    survey = load_survey(name)
    assert survey.name == name and survey.title
    assert (survey.simulation is not None) == (survey.sources.kind == "simulated")
    assert load_survey(SHIPPED / f"{name}.toml") == survey
    with pytest.raises(dataclasses.FrozenInstanceError):
        survey.cuts.snr_split = 1.0


@pytest.mark.parametrize("name", NAMES)
def test_every_value_states_its_source(name):
    for line in (SHIPPED / f"{name}.toml").read_text(encoding="utf-8").splitlines():
        if re.match(r"\w+ *=", line) and not re.match(r"(title|extends) *=", line):
            assert re.search(r"# *\S", line.split("=", 1)[1]), f"{name}.toml: no source: {line}"


def test_dr14_is_the_papers():
    survey = load_survey("dr14")
    assert survey.cuts.max_parallax_error == 0.1 and survey.cuts.snr_split == 200
    assert survey.spectra.masked_bits == (0, 1, 2, 3, 4, 5, 6, 7, 12)
    assert survey.network.hidden_units == (164, 64) and survey.inference.passes == 100
    assert survey.maps.sun_distance == 8.125 and survey.maps.sun_height == 20.8


def test_extends_changes_only_what_is_stated():
    dr14, dr17 = load_survey("dr14"), load_survey("dr17")
    assert dr17.cuts == dataclasses.replace(
        dr14.cuts, needs_extinction=True, max_ruwe=1.4, max_ipd_frac_multi_peak=2.0, max_ipd_gof_harmonic_amplitude=0.1
    )
    assert dr17.maps == dr14.maps
    # two steps: smoke <- mock <- mock-dr14 <- dr14
    assert (
        load_survey("smoke").simulation.constant_zero_point == load_survey("mock-dr14").simulation.constant_zero_point
    )


def test_the_calibration_of_dr14_is_ours_and_its_joint_model_the_papers():
    survey = load_survey("dr14")
    assert survey.training.contaminant_fraction == 0 and survey.training.variance_form == "parallax"
    assert survey.calibration.model == "calibrated" and survey.calibration.contaminant_fraction > 0
    assert survey.calibration.min_abs_glon == 30 and survey.calibration.plane_prior == 2.0


def write(folder, text, name="mine"):
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_units_are_converted_and_off_is_inf(tmp_path):
    survey = load_survey(
        write(
            tmp_path,
            'extends = "dr14"\n[cuts]\nmax_parallax_error = "50 uas"\nmax_v_scatter = "inf km/s"\nmax_ruwe = 2',
        )
    )
    assert survey.name == "mine"
    assert survey.cuts.max_parallax_error == pytest.approx(0.05)
    assert survey.cuts.max_v_scatter == float("inf")
    assert survey.cuts.max_ruwe == 2.0 and isinstance(survey.cuts.max_ruwe, float)


WRONG = {
    "unknown key": ("[cuts]\nsnr_spilt = 100.0", "cuts.snr_spilt"),
    "unknown section": ("[cutz]\nsnr_split = 100.0", "cutz"),
    "wrong type": ('[training]\nepochs = "40"', "training.epochs"),
    "number for a whole number": ("[training]\nepochs = 40.5", "training.epochs"),
    "truth value for a number": ("[training]\nepochs = true", "training.epochs"),
    "number for a list": ("[network]\nhidden_units = 164", "network.hidden_units"),
    "wrong type in a list": ('[network]\nhidden_units = [164, "64"]', "network.hidden_units[1]"),
    "wrong unit": ('[cuts]\nmax_parallax_error = "0.1 km"', "cuts.max_parallax_error"),
    "no unit": ('[cuts]\nmax_parallax_error = "0.1"', "cuts.max_parallax_error"),
    "number for a quantity": ("[cuts]\nmax_parallax_error = 0.1", "cuts.max_parallax_error"),
    "no quantity": ('[cuts]\nmax_parallax_error = "small"', "cuts.max_parallax_error"),
    "not a number": ("[cuts]\nsnr_split = nan", "cuts.snr_split"),
    "not an allowed word": ('[sources]\ngaia_release = "dr1"', "sources.gaia_release"),
    "no form of the variance": ('[training]\nvariance_form = "fakemag"', "training.variance_form"),
    "no model of the catalogue": ('[calibration]\nmodel = "multivariate"', "calibration.model"),
    "no angle": ('[calibration]\nmin_abs_glon = "30 pc"', "calibration.min_abs_glon"),
    "a prior without its unit": ("[calibration]\nplane_prior = 2.0", "calibration.plane_prior"),
    "half a component": ("[calibration]\ncomponents = 99.5", "calibration.components"),
    "section that is not one": ("cuts = 3", "cuts"),
    "a folder of one's own without its name": ('[sources]\nkind = "folder"', "sources.folder"),
    "Lindegren's zero point for DR2": ('[sources]\nparallax_zero_point = "lindegren2021"', "parallax_zero_point"),
    "no attempt at all": ("[archive]\nattempts = 0", "archive.attempts"),
    "simulated without a simulation": ('[sources]\nkind = "simulated"', "sources.kind"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_with_its_name_and_the_key(tmp_path, case):
    text, key = WRONG[case]
    path = write(tmp_path, f'extends = "dr14"\n{text}\n')
    with pytest.raises(SurveyError) as error:
        load_survey(path)
    assert str(path) in str(error.value) and key in str(error.value)


def _without(dropped_section, dropped_key=None):
    """The text of dr14.toml without one key, or without a whole section."""
    kept, section = [], None
    for line in (SHIPPED / "dr14.toml").read_text(encoding="utf-8").splitlines():
        if header := re.match(r"\[(\w+)\]", line):
            section = header[1]
        if section != dropped_section or (dropped_key and not line.startswith(f"{dropped_key} =")):
            kept.append(line)
    return "\n".join(kept)


@pytest.mark.parametrize("section", [name for name in SECTIONS if name != "simulation"])
def test_every_key_and_section_is_needed(tmp_path, section):
    for key in tomllib.loads((SHIPPED / "dr14.toml").read_text(encoding="utf-8"))[section]:
        path = write(tmp_path, _without(section, key))
        with pytest.raises(SurveyError) as error:
            load_survey(path)
        assert str(path) in str(error.value) and f"{section}.{key} is missing" in str(error.value)
    path = write(tmp_path, _without(section))
    with pytest.raises(SurveyError, match=rf"\[{section}\] is missing"):
        load_survey(path)


def test_a_title_is_needed(tmp_path):
    path = write(tmp_path, (SHIPPED / "dr14.toml").read_text(encoding="utf-8").replace("title", "#title"))
    with pytest.raises(SurveyError, match="title"):
        load_survey(path)


def test_circular_extends(tmp_path):
    write(tmp_path, 'extends = "b"', "a")
    path = write(tmp_path, 'extends = "a"', "b")
    with pytest.raises(SurveyError, match=r"b\.toml.*extends"):
        load_survey(path)
    path = write(tmp_path, 'extends = "c"', "c")
    with pytest.raises(SurveyError, match=r"c\.toml.*extends"):
        load_survey(path)


def test_not_toml_and_not_there(tmp_path):
    with pytest.raises(SurveyError, match=r"mine\.toml: not valid TOML"):
        load_survey(write(tmp_path, "[cuts\n"))
    with pytest.raises(SurveyError, match="no such survey file"):
        load_survey(tmp_path / "absent.toml")
    with pytest.raises(SurveyError, match=r"'dr41'.*dr14"):
        load_survey("dr41")
    with pytest.raises(SurveyError, match="nowhere"):
        load_survey(write(tmp_path, 'extends = "nowhere"'))


def test_settings_for_provenance():
    survey = load_survey("dr14")
    settings = survey.settings("network", "training", "simulation")
    assert settings["network"]["dropout"] == 0.3
    assert set(settings) == {"network", "training"}  # dr14 is not simulated


@pytest.mark.parametrize(
    ("section", "line", "named"),
    [
        ("cuts", 'max_parallax_error = "nan mas"', "cuts.max_parallax_error"),
        ("cuts", 'max_parallax_error = "-1 mas"', "cuts.max_parallax_error"),
        ("network", "dropout = 1.5", "network.dropout"),
        ("training", "epochs = -3", "training.epochs"),
        ("training", "contaminant_fraction = 0.6", "training.contaminant_fraction"),
        ("training", "contaminant_width = 0.9", "training.contaminant_width"),
        ("calibration", "contaminant_fraction = -0.01", "calibration.contaminant_fraction"),
        ("calibration", "contaminant_width = 0.0", "calibration.contaminant_width"),
        ("calibration", 'min_abs_glon = "180 deg"', "calibration.min_abs_glon"),
        ("calibration", "components = 0", "calibration.components"),
        ("calibration", "products = -1", "calibration.products"),
        ("calibration", "stars_per_feature = 0.5", "calibration.stars_per_feature"),
        ("calibration", "iterations = 0", "calibration.iterations"),
        ("calibration", "systematic_share = 1.1", "calibration.systematic_share"),
        ("calibration", 'plane_prior = "0 uas"', "calibration.plane_prior"),
        ("calibration", "drift_prior = 0.0", "calibration.drift_prior"),
        ("calibration", "dropout = 1.0", "calibration.dropout"),
        ("calibration", "ridge = -1.0", "calibration.ridge"),
        ("calibration", "learning_rate = 0.0", "calibration.learning_rate"),
        ("calibration", "plateau_patience = -1", "calibration.plateau_patience"),
    ],
)
def test_value_out_of_range_is_an_error(tmp_path, section, line, named):
    path = tmp_path / "mine.toml"
    path.write_text(f'extends = "dr14"\n[{section}]\n{line}\n')
    with pytest.raises(SurveyError, match=named) as error:
        load_survey(path)
    assert "mine.toml" in str(error.value)


def test_unknown_base_names_the_file_that_extends_it(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('extends = "dr99"\n')
    with pytest.raises(SurveyError, match=r"mine\.toml.*extends.*dr99"):
        load_survey(path)


def test_settings_restore_the_survey_through_json(tmp_path):
    for name in survey_names():
        survey = load_survey(name)
        files.write_json(tmp_path / "settings.json", survey.settings())
        assert restore_survey(files.read_json(tmp_path / "settings.json")) == survey


def test_a_folder_of_ones_own_is_relative_to_the_survey_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('extends = "dr14"\ntitle = "mine"\n[sources]\nkind = "folder"\nfolder = "spectra"\n')
    assert load_survey(path).sources.folder == str(tmp_path.resolve() / "spectra")
