"""Published zero points: as printed, and as meant."""

import pytest

from apogaia.physics import literature


def test_paper_summaries_as_published():
    at = {name: summary.zero_point_uas for name, summary in literature.PAPER_SUMMARIES.items()}
    assert at["g_mag"](16) == at["g_mag_printed"](16) == -55.49
    assert at["g_mag_printed"](11) == pytest.approx(434, abs=0.1)  # why it cannot be what was meant
    assert abs(at["g_mag"](11)) < 60
    assert at["bp_rp"](1.0) == pytest.approx(6.90 - 34.63 - 11.67)
    assert at["teff"](4500) == -53.17


def test_literature_is_that_of_section_7():
    found = {entry.name: (entry.value_uas, entry.error_uas, entry.systematic_uas) for entry in literature.LITERATURE}
    assert found["RGB"] == (-52.8, 2.4, 1) and found["RC"] == (-50.2, 2.5, 1)
    assert found["quasars"][0] == -29
    assert found["Cepheids"][:2] == (-46, 13)
    assert found["eclipsing binaries"][:2] == (-31, 11)
    assert found["luminous red giants"][0] == -48
    for entry in literature.LITERATURE:
        assert all(low < high for low, high in (entry.g_mag, entry.bp_rp, entry.teff)) and entry.reference


def test_published_zero_points_are_those_of_the_same_parallaxes():
    dr2 = {one.reference: one for one in literature.published_zero_points("dr2")}
    assert (dr2["Zinn et al. (2019)"].value_uas, dr2["Zinn et al. (2019)"].systematic_uas) == (-52.8, 8.6)
    assert dr2["Chan & Bovy (2020)"].error_uas == 1 and dr2["Hall et al. (2019)"].error_uas == 10
    raw, left = (literature.published_zero_points("dr3", how) for how in ("none", "lindegren2021"))
    assert {one.value_uas for one in raw} == {-26, -39} and {one.value_uas for one in left} == {15, -1.6, 16.5}
    assert literature.published_zero_points("dr4") == ()
    assert literature.FIELD_FLOOR_UAS == (3, 10)


def test_tension_is_the_difference_in_units_of_all_errors():
    zinn, chan = (one for one in literature.published_zero_points("dr2") if one.reference[:4] in ("Zinn", "Chan"))
    first, second = literature.tensions(-44.0, 3.0, [zinn, chan])
    assert first.difference_uas == pytest.approx(8.8)
    assert first.sigma == first.stated_sigma == pytest.approx(8.8 / (3**2 + 2.4**2 + 8.6**2) ** 0.5)
    assert second.stated_sigma == pytest.approx(4 / 10**0.5)
    assert second.sigma == pytest.approx(4 / (10 + 10**2) ** 0.5)  # no systematic error stated: the field's floor
    assert "Chan & Bovy (2020)" in str(second) and "+0.4 sigma" in str(second)
    assert second.numbers()["stars"] == "red clump, APOGEE, hierarchical" and second.numbers()["value_uas"] == -48
