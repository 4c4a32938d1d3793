"""Survey files: the shipped ones load, wrong ones are refused with file, key and what is allowed; editors' schema."""

import copy
import dataclasses
import json
import math
import pickle
import re
import tomllib
from importlib import resources
from pathlib import Path

import pydantic
import pytest
import survey_schema as schema_tool
from hypothesis import given, settings
from hypothesis import strategies as st

from apogaia import files
from apogaia.survey import SECTIONS, SurveyError, load_survey, restore_survey, survey_names, survey_schema

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


def test_networks_of_stellar_parameters_have_the_published_sizes():
    """Of Leung & Bovy (2019a), of DR17's value-added catalogue and of Astra."""
    hidden = {name: load_survey(name).parameters.hidden_units for name in ("dr14", "dr17", "dr19")}
    assert hidden == {"dr14": (192, 64), "dr17": (256, 96), "dr19": (192, 96)}
    for name in hidden:
        parameters = load_survey(name).parameters
        assert (parameters.element_units, parameters.wide_element_units) == ((32, 16), (256, 64))
        assert (parameters.min_snr, parameters.min_teff, parameters.max_teff) == (200, 3000, 6500)


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
    assert survey.calibration.slope_prior == 10.0 and survey.calibration.teff_prior == 20.0


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
    "a folder that is not used": ('[sources]\nfolder = "spectra"', "sources.folder"),
    "released spectra of DR17": ('[sources]\nspectra = "released"\napogee_release = "dr17"', "sources.spectra"),
    "a catalogue without a share": ("[comparisons]\nbpg = [0.05, 0.15]", "comparisons.bpg"),
    "a catalogue without a scatter": ("[comparisons]\nbpg = [0.05, 0.0, 0.02]", "comparisons.bpg"),
    "more contaminants than others": ("[comparisons]\nclusters = [0.05, 0.15, 0.6]", "comparisons.clusters"),
    "two numbers for one quantity": ('[cuts]\nmax_parallax_error = "0 1 mas"', "cuts.max_parallax_error"),
    "a list of quantities": ('[cuts]\nmax_parallax_error = ["0.1 mas"]', "cuts.max_parallax_error"),
    "a layer without units": ("[network]\nhidden_units = [164, 0]", "network.hidden_units[1]"),
    "no layers": ("[network]\nconv_filters = []", "network.conv_filters"),
    "a bit beyond the mask": ("[spectra]\nmasked_bits = [0, 31]", "spectra.masked_bits[1]"),
    "text for a truth value": ('[counts]\nasserted = "yes"', "counts.asserted"),
    "number for a truth value": ("[counts]\nasserted = 1", "counts.asserted"),
    "number for a text": ("[archive]\nsas = 3", "archive.sas"),
    "no address": ('[archive]\nsas = "data.sdss.org/sas"', "archive.sas"),
    "half a hash": ('[archive]\nallstar_sha1 = "a7e18019"', "archive.allstar_sha1"),
    "training that climbs": ("[training]\nlearning_rate_with_offset = -1e-3", "training.learning_rate_with_offset"),
    "no star trains": ("[training]\nvalidation_fraction = 1.0", "training.validation_fraction"),
    "negative validation": ("[training]\nvalidation_fraction = -0.1", "training.validation_fraction"),
    "a rate that never falls": ("[training]\nplateau_factor = 1.0", "training.plateau_factor"),
    "a lower limit that no star passes": ("[cuts]\nmin_log_luminosity = inf", "cuts.min_log_luminosity"),
    "a wait without end": ('[archive]\ntimeout = "inf s"', "archive.timeout"),
    "a whole number without end": (f"[training]\nepochs = 1{'0' * 400}", "training.epochs"),
    "a number without end": (f"[training]\nmin_learning_rate = 1{'0' * 400}", "training.min_learning_rate"),
    "a date": ("[training]\nepochs = 2019-02-25", "training.epochs"),
    "a table for a value": ("[training.epochs]\nfirst = 3", "training.epochs"),
    "a list of sections": ("[[cuts]]\nsnr_split = 100.0", "[cuts]"),
    "a title that is empty": ('title = ""', "title"),
    "a title that is a section": ("[title]\nx = 1", "title"),
    "a name beside that of the file": ('name = "other"', "name"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_with_its_name_and_the_key(tmp_path, case):
    text, key = WRONG[case]
    path = write(tmp_path, f'extends = "dr14"\n{text}\n')
    with pytest.raises(SurveyError) as error:
        load_survey(path)
    assert str(error.value).startswith(f"{path}: ") and key in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[archive]\nstreams = 65", "archive.streams must be a whole number from 1 to 64, not 65"),
        ("[training]\nepochs = true", "training.epochs must be a whole number from 1 to 1000000, not true"),
        ("[cuts]\nmax_ruwe = -1.0", "cuts.max_ruwe must be a number, 0 or more (inf: no limit), not -1.0"),
        ("[cuts]\nmin_log_luminosity = nan", "must be a number, 10 or less (-inf: no limit), not nan"),
        (
            "[cuts]\nmax_parallax_error = 0.1",
            "cuts.max_parallax_error must be a string with a number and a unit, such as '1 mas', 0 mas or more"
            " (inf mas: no limit), not 0.1",
        ),
        ('[sources]\ngaia_epoch = "2016 m"', "such as '1900 yr', from 1900 to 2100 yr, not '2016 m'"),
        ('[sources]\napogee_release = "dr15"', "sources.apogee_release must be one of 'dr14', 'dr17', 'dr19', not"),
        ("[network]\nconv_filters = []", "must be a list that is not empty, each item a whole number from 1 to 100000"),
        (
            "[network]\nconv_filters = [2, -4]",
            "network.conv_filters[1] must be a whole number from 1 to 100000, not -4",
        ),
        ("[cuts]\nsnr_spilt = 1.0", "unknown key cuts.snr_spilt; did you mean cuts.snr_split?"),
        (
            "[cuts]\nepochs = 4",
            "unknown key cuts.epochs; did you mean training.epochs or calibration.epochs or parameters.epochs?",
        ),
        ("epochs = 4", "unknown key epochs; did you mean training.epochs or calibration.epochs or parameters.epochs?"),
        ("[cut]\nepochs = 4", "unknown key cut; did you mean cuts?"),
        ("[maps]\nxyz = 4", "unknown key maps.xyz; known are bins, centre_x,"),
        ("extends = 3", "extends must be the name of a survey, not 3"),
        (
            '[sources]\nkind = "folder"',
            "sources.folder is needed if sources.kind = 'folder', and only then; here sources.folder = '',"
            " sources.kind = 'folder'",
        ),
    ],
)
def test_a_fault_is_stated_with_what_is_given_and_what_is_allowed(tmp_path, text, line):
    path = write(tmp_path, text if "extends" in text else f'extends = "dr14"\n{text}\n')
    with pytest.raises(SurveyError) as error:
        load_survey(path)
    assert str(error.value).startswith(f"{path}: ") and line in str(error.value)


def test_all_faults_are_reported_at_once_each_with_the_file_that_states_it(tmp_path):
    base = write(
        tmp_path,
        'extends = "dr14"\nfudge = 1\n[cuts]\nmax_ruwe = "1.4"\nsnr_split = -1.0\n'
        '[training]\nepochs = 0\n[network]\nhidden_units = [0, 64, "a"]\n[sources]\nspectra = "released"\n',
        "base",
    )
    path = write(
        tmp_path,
        'extends = "base"\n[cuts]\nsnr_split = 100.0\nmax_v_scatter = "1 km"\nmax_rwue = 1.4\n'
        '[training]\nvariance_form = "both"\n[sources]\nfolder = "x"\napogee_release = "dr17"\n[maps]\nbins = 2.5\n',
    )
    with pytest.raises(SurveyError) as error:
        load_survey(path)
    found = [line.split(" must ")[0].split(";")[0] for line in str(error.value).splitlines()]
    assert sorted(found) == sorted(
        [
            f"{base}: unknown key fudge",
            f"{base}: cuts.max_ruwe",
            f"{base}: training.epochs",
            f"{base}: network.hidden_units[0]",
            f"{base}: network.hidden_units[2]",
            f"{path}: cuts.max_v_scatter",
            f"{path}: unknown key cuts.max_rwue",
            f"{path}: training.variance_form",
            f"{path}: maps.bins",
            f"{path}: sources.folder is needed if sources.kind = 'folder', and only then",
            f"{path}: sources.spectra = 'released' is the paper's DR14 sample: sources.apogee_release",
        ]
    )


def test_missing_sections_and_keys_are_reported_with_the_other_faults(tmp_path):
    text = re.sub(r"\n(streams|bins) = .*", "", _without("network")).replace('"0.1 mas"', "0.1")
    with pytest.raises(SurveyError) as error:
        load_survey(path := write(tmp_path, text))
    lines = str(error.value).splitlines()
    assert len(lines) == 4 and all(line.startswith(f"{path}: ") for line in lines)
    for wanted in ("archive.streams is missing", "[network] is missing", "maps.bins is missing", "max_parallax_error"):
        assert wanted in str(error.value)


@pytest.mark.parametrize(
    ("lines", "good"),
    [
        ('zero_point = "fixed"\nfixed_zero_point = "-0.0523 mas"\nfixed_zero_point_error = "2 uas"', True),
        ('zero_point = "fixed"\nfixed_zero_point_error = "2 uas"', True),
        ('zero_point = "fixed"\nfixed_zero_point = "-52.3 uas"', False),
        ('fixed_zero_point = "-52.3 uas"', False),
        ('fixed_zero_point = "-52.3 uas"\nfixed_zero_point_error = "2 uas"', False),
        ('fixed_zero_point = "0 mas"\nfixed_zero_point_error = "0 mas"', True),
    ],
)
def test_a_zero_point_is_either_fixed_with_an_error_or_fitted(tmp_path, lines, good):
    path = write(tmp_path, f'extends = "dr14"\ntitle = "x"\n[calibration]\n{lines}\n')
    if not good:
        with pytest.raises(SurveyError, match=r"calibration\.zero_point = 'fixed' needs .*; here calibration\."):
            load_survey(path)
        return
    settings = load_survey(path).calibration
    assert settings.fixed_zero_point == pytest.approx(-52.3 if "0523" in lines else 0)  # uas
    assert (settings.fixed_zero_point_error > 0) == (settings.zero_point == "fixed")


def test_smoke_surveys_say_that_their_refit_means_nothing():
    """They have fewer stars than the refit can bear, run for the sake of its code."""
    for name in ("smoke", "smoke-dr17"):
        assert load_survey(name).calibration.min_stars < 0.1 * load_survey("mock").calibration.min_stars
        text = (SHIPPED / f"{name}.toml").read_text()
        assert re.search(r"min_stars = .*# .*means nothing", text)


def test_a_rule_of_faulty_values_is_not_reported_as_well(tmp_path):
    path = write(tmp_path, 'extends = "dr14"\n[sources]\nkind = "foldr"\nfolder = "x"\n')
    with pytest.raises(SurveyError) as error:
        load_survey(path)
    assert len(str(error.value).splitlines()) == 1 and "sources.kind must be one of" in str(error.value)


def test_a_section_that_is_none_in_the_file_below_is_that_files_fault(tmp_path):
    base = write(tmp_path, 'extends = "dr14"\ncuts = 3\n', "base")
    with pytest.raises(SurveyError) as error:
        load_survey(write(tmp_path, 'extends = "base"\n[cuts]\nsnr_split = 100.0\n'))
    assert str(error.value) == f"{base}: [cuts] must be a table of keys, not 3"


def _keys(*kinds):
    """(section, key, its schema) of the keys of these types; quantities are of type 'quantity'."""
    for section in SECTIONS:
        for key, described in survey_schema()["properties"][section]["properties"].items():
            kind = "quantity" if "x-unit" in described else described["type"]
            if (kind[0] if isinstance(kind, list) else kind) in kinds:
                yield section, key, described


NUMBERS = {f"{section}.{key}": (section, key, described) for section, key, described in _keys("integer", "number")}
QUANTITIES = {f"{section}.{key}": (section, key, described) for section, key, described in _keys("quantity")}


def _faults_of(tmp_path, section, key, value):
    base = "smoke" if section == "simulation" else "dr14"
    beside = ""
    if key.startswith("fixed_zero_point") and value != '"0 uas"':  # values that go together
        beside = 'zero_point = "fixed"\n' + 'fixed_zero_point_error = "1 uas"\n' * (key == "fixed_zero_point")
    try:
        load_survey(write(tmp_path, f'extends = "{base}"\n[{section}]\n{beside}{key} = {value}\n'))
    except SurveyError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_limits(tmp_path, name):
    section, key, described = NUMBERS[name]
    whole, off = described["type"] == "integer", isinstance(described["type"], list)
    low, high = described.get("minimum"), described.get("maximum")
    assert (low is None) + (high is None) == off
    for limit, beyond, infinity in ((low, -1, "-inf"), (high, 1, "inf")):
        if limit is None:
            assert _faults_of(tmp_path, section, key, infinity) is None
            continue
        assert _faults_of(tmp_path, section, key, limit) is None
        past = limit + beyond if whole else math.nextafter(limit, beyond * math.inf)
        for value in (past, infinity, "nan", "true", '"1"'):
            assert f"mine.toml: {name} must be" in _faults_of(tmp_path, section, key, value), value


@pytest.mark.parametrize("name", QUANTITIES)
def test_every_quantity_has_a_unit_and_limits(tmp_path, name):
    section, key, described = QUANTITIES[name]
    unit, low, high = (described.get(f"x-{what}") for what in ("unit", "minimum", "maximum"))
    for limit, beyond, infinity in ((low, -1, "-inf"), (high, 1, "inf")):
        if limit is None:
            assert _faults_of(tmp_path, section, key, f'"{infinity} {unit}"') is None
            continue
        assert _faults_of(tmp_path, section, key, f'"{limit} {unit}"') is None
        past = math.nextafter(limit, beyond * math.inf)
        for value in (f"{past!r} {unit}", f"{infinity} {unit}", f"nan {unit}", "1", "1 A", unit, f"1 {unit} 2"):
            assert f"mine.toml: {name} must be a string" in _faults_of(tmp_path, section, key, f'"{value}"'), value
    assert f"mine.toml: {name} must be a string" in _faults_of(tmp_path, section, key, max(1, low or 1))


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
        ("parameters", "element_units = []", "parameters.element_units"),
        ("parameters", "wide_element_units = [0]", r"parameters.wide_element_units\[0\]"),
        ("parameters", "patience = -1", "parameters.patience"),
        ("parameters", "min_teff = 3000.0", "parameters.min_teff"),
        ("parameters", 'max_teff = "6500 pc"', "parameters.max_teff"),
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


def test_a_limit_that_is_off_keeps_its_sign_through_json(tmp_path):
    path = write(tmp_path, 'extends = "dr14"\n[cuts]\nmin_log_luminosity = -inf\nmax_ruwe = inf\n')
    survey = load_survey(path)
    assert survey.cuts.min_log_luminosity == -survey.cuts.max_ruwe == -math.inf
    files.write_json(tmp_path / "settings.json", survey.settings())
    assert restore_survey(files.read_json(tmp_path / "settings.json")) == survey


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: s.pop("cuts"), "cuts"),
        (lambda s: s["cuts"].pop("snr_split"), "cuts.snr_split"),
        (lambda s: s["cuts"].update(snr_spilt=1.0), "cuts.snr_spilt"),
        (lambda s: s.update(cutz={}), "cutz"),
        (lambda s: s["training"].update(epochs=None), "training.epochs"),
        (lambda s: s["network"].update(dropout=None), "network.dropout"),
        (lambda s: s["cuts"].update(max_parallax_error="0.1 mas"), "cuts.max_parallax_error"),
        (lambda s: s["sources"].update(kind="folder"), "sources.folder is needed"),
    ],
)
def test_settings_of_another_version_are_refused(change, named):
    settings = copy.deepcopy(load_survey("dr14").settings())
    assert restore_survey(settings) == load_survey("dr14")
    change(settings)
    with pytest.raises(SurveyError, match=rf"another version.*{re.escape(named)}"):
        restore_survey(settings)


def test_changes_in_python_are_checked_too():
    survey = load_survey("dr14")
    cuts = dataclasses.replace(survey.cuts, max_parallax_error=0.2, snr_split=100)
    assert cuts.max_parallax_error == 0.2 and isinstance(cuts.snr_split, float)
    for wrong in ({"max_parallax_error": "0.2 mas"}, {"snr_split": -1.0}, {"max_ruwe": math.nan}, {"max_ruwe": None}):
        with pytest.raises(pydantic.ValidationError, match=next(iter(wrong))):
            dataclasses.replace(survey.cuts, **wrong)
    with pytest.raises(pydantic.ValidationError, match="EDR3"):
        dataclasses.replace(survey, sources=dataclasses.replace(survey.sources, parallax_zero_point="lindegren2021"))
    with pytest.raises(pydantic.ValidationError, match="snr_spilt"):
        dataclasses.replace(survey.cuts, snr_spilt=1.0)
    assert dataclasses.replace(survey) == survey and hash(dataclasses.replace(survey)) == hash(survey)
    assert pickle.loads(pickle.dumps(survey)) == survey


def test_the_schema_beside_the_surveys_is_that_of_the_code():
    told = "python tools/survey_schema.py writes it anew"
    assert json.loads(schema_tool.SCHEMA.read_text(encoding="utf-8")) == survey_schema(), told


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_survey_names_its_schema(name):
    first = (SHIPPED / f"{name}.toml").read_text(encoding="utf-8").splitlines()[0]
    assert first == "#:schema ./survey.schema.json" and (SHIPPED / "survey.schema.json") == schema_tool.SCHEMA


def test_every_key_is_described():
    for section in SECTIONS:
        described = survey_schema()["properties"][section]
        assert described["description"]
        for key, value in described["properties"].items():
            assert len(value["description"].split()) >= 2 and value["description"].endswith("."), f"{section}.{key}"
    for unit in (value for *_, value in _keys("quantity")):
        assert unit["x-unit"] in unit["description"]


@pytest.fixture(scope="module")
def validator():
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft7Validator.check_schema(survey_schema())
    return jsonschema.Draft7Validator(survey_schema())


def as_json(text: str):
    """A survey file as what knows JSON alone reads it: numbers that are not finite are null."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return plain(tomllib.loads(text))


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_survey_is_valid_by_its_schema(validator, name):
    text = (SHIPPED / f"{name}.toml").read_text(encoding="utf-8")
    assert not list(validator.iter_errors(as_json(text)))
    assert not list(validator.iter_errors(tomllib.loads(text)))


@pytest.mark.parametrize(
    "case",
    [  # what a schema cannot know: which units are equivalent, and which values go together
        case
        for case, (text, key) in WRONG.items()
        if case not in ("wrong unit", "no angle", "not a number", "a date", "a lower limit that no star passes")
        and 'kind = "' not in text
        and "folder" not in key
        and "lindegren" not in text
        and "dr17" not in text
        and "[comparisons]" not in text
    ],
)
def test_a_wrong_file_is_not_valid_by_the_schema(validator, case):
    assert list(validator.iter_errors(as_json(f'extends = "dr14"\n{WRONG[case][0]}\n'))), case


def test_the_schema_wants_all_keys_only_of_a_file_that_extends_none(validator):
    whole = as_json((SHIPPED / "dr14.toml").read_text(encoding="utf-8"))
    for section in (name for name in SECTIONS if name != "simulation"):
        for key in (None, *whole[section]):
            part = copy.deepcopy(whole)
            del (part if key is None else part[section])[section if key is None else key]
            assert [error.validator for error in validator.iter_errors(part)] == ["required"]
            assert not list(validator.iter_errors(part | {"extends": "dr14"}))
    assert list(validator.iter_errors(whole | {"simulation": {"seed": 3}}))
    assert not list(validator.iter_errors({"extends": "dr14", "simulation": {"seed": 3}}))


PLAIN = st.one_of(
    st.integers(),
    st.floats(),
    st.booleans(),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20),
    st.builds(
        "{}{}{}".format,
        st.floats() | st.integers(),
        st.sampled_from(["", " ", "  "]),
        st.sampled_from(["mas", "uas", "kpc", "km/s", "deg", "yr", "arcsec", "mag", "s", "%", "", "1/0", "mas("]),
    ),
)


def as_toml(value) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (str, bool)) else repr(value)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_value_is_read_or_refused_by_name_and_the_schema_refuses_no_good_one(validator, tmp_path_factory, data):
    section = data.draw(st.sampled_from(SECTIONS))
    keys = survey_schema()["properties"][section]["properties"]
    key = data.draw(st.sampled_from(list(keys)))
    value = data.draw(PLAIN | st.lists(PLAIN, max_size=3))
    text = f"[{section}]\n{key} = {as_toml(value)}\n"
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(f'extends = "mock-dr17"\n{text}', encoding="utf-8")
    try:
        read = getattr(getattr(load_survey(path), section), key)
    except SurveyError as error:
        lines = str(error).splitlines()
        assert lines and all(line.startswith(f"{path}: ") and f"{section}.{key}" in line for line in lines)
    else:
        assert "x-unit" in keys[key] or key == "folder" or read == (tuple(value) if isinstance(value, list) else value)
        assert not list(validator.iter_errors(as_json(f'extends = "mock-dr17"\n{text}')))


def test_a_survey_that_is_read_already_stays_as_it_is():
    survey = load_survey("smoke")
    assert load_survey(survey) is survey


def test_an_unknown_section_of_settings_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no section 'cut' in a survey; there are sources, archive.*cuts"):
        load_survey("smoke").settings("sources", "cut")


def test_settings_from_before_the_comparisons_are_restored():
    """Of a model file: the section concerns none."""
    survey = load_survey("mock")
    settings = survey.settings()
    del settings["comparisons"]
    restored = restore_survey(settings)
    assert restored.comparisons == load_survey("dr14").comparisons and restored.training == survey.training
