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
