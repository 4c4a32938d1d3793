"""What a data release consists of: names, places and row counts of its files.

Places are relative to the root of SDSS's Science Archive Server (SAS). Raw folders keep the layout below
`Release.spectra_folder`, so that `raw/<telescope>/<folder>/<file>` is `<spectra_folder>/<telescope>/<folder>/<file>`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "EDR3_IMAGE_QUALITY",
    "EDR3_SOLUTION",
    "RELEASES",
    "GaiaRelease",
    "Release",
    "TableFile",
]

_STAR_FILE = re.compile(r"a[ps]StarC?-[A-Za-z0-9.]+-.+\.fits")  # C: of commissioning
_GAIA_RELEASE = re.compile(r"dr[2-9]|edr3|dr[1-9]\d+")


@dataclass(frozen=True)
class TableFile:
    """One table of a release: a name in the raw folder, and where on the SAS it is ("" if it is not there)."""

    name: str
    folder: str = ""
    rows: int | None = None
    needed: bool = True  # by the reduction; others are for comparison
    hdu: int = 1

    @property
    def sas_path(self) -> str:
        """Path below the root of the SAS."""
        return f"{self.folder}/{self.name}"


@dataclass(frozen=True)
class Release:
    """One release of APOGEE."""

    name: str  # in file names on the SAS
    reduction: str  # in the names of spectra: apStar-<reduction>-<APOGEE_ID>.fits
    spectra_folder: str
    spectra_by: Literal["location_id", "field", "healpix"]  # whose number or name is that of the spectra's folders
    allstar: TableFile
    stellar_parameters: TableFile
    comparisons: tuple[TableFile, ...]
    n_rows: int  # of allStar
    mean_spectrum_bytes: float  # about, for estimates before a file has been seen
    commissioning_apart: bool  # visits of commissioning are combined apart: a row and an apStarC file of their own
    apstar_layout: Literal["dr14", "dr17", "dr19"]  # first release with its rows, mask and header (data/README.md)
    gaia_in_allstar: bool = False  # the rows of allStar have Gaia's measurements: no cross-match, no table of Gaia's

    def spectrum(
        self,
        apogee_id: str,
        telescope: str = "apo25m",
        location_id: int = 0,
        field: str = "",
        file: str = "",
        healpix: int = 0,
        reduction: str = "",
    ) -> str:
        """Place of a star's combined spectrum below `spectra_folder`, and below a raw folder.

        Parameters
        ----------
        apogee_id, telescope, location_id, field, file
            As in allStar. FILE is taken where it is the name of a combined spectrum; otherwise the name follows from
            the telescope: asStar at Las Campanas, apStar at Apache Point. Only FILE distinguishes a spectrum of
            commissioning, apStarC, from the survey's of the same star.
        healpix, reduction
            DR19 only: the HEALPix pixel of the folder, and the reduction's version (column apred). Spectra of DR17 are
            served again at their places in DR17, below a folder called dr17.
        """
        if self.spectra_by == "healpix" and reduction == "dr17":
            return f"dr17/stars/{RELEASES['dr17'].spectrum(apogee_id, telescope, location_id, field, file)}"
        if self.spectra_by == "healpix":
            reduction = reduction or self.reduction
            folder = f"{reduction}/stars/{telescope}/{healpix // 1000}/{healpix}"
            return f"{folder}/apStar-{reduction}-{telescope}-{apogee_id}.fits"
        if not _STAR_FILE.fullmatch(file):
            kind = "asStar" if telescope.startswith("lco") else "apStar"
            file = f"{kind}-{self.reduction}-{apogee_id}.fits"
        return f"{telescope}/{field if self.spectra_by == 'field' else location_id}/{file}"

    def hash_list(self, folder: str) -> str:
        """Place, below `spectra_folder`, of the SHA-1 list of the spectra in one folder, such as ``apo25m/4405``.

        Its name is the folder's path below that of all reductions.
        """
        path = folder if self.spectra_by == "healpix" else f"{self.reduction}/stars/{folder}"
        return f"{folder}/{path.replace('/', '_')}.sha1sum"


_DR2_COLUMNS = (
    *("source_id", "ra", "dec", "ra_error", "dec_error", "pmra", "pmdec", "pmra_error", "pmdec_error"),
    *("parallax", "parallax_error", "phot_g_mean_mag", "bp_rp"),
    *("visibility_periods_used", "astrometric_chi2_al", "astrometric_n_good_obs_al"),
)
# Columns that came with EDR3: how single the source looks, and the kind of astrometric solution
EDR3_IMAGE_QUALITY = ("ruwe", "ipd_frac_multi_peak", "ipd_gof_harmonic_amplitude")
EDR3_SOLUTION = ("nu_eff_used_in_astrometry", "pseudocolour", "ecl_lat", "astrometric_params_solved")

_EDR3_COLUMNS = (*_DR2_COLUMNS, *EDR3_IMAGE_QUALITY, *EDR3_SOLUTION)


@dataclass(frozen=True)
class GaiaRelease:
    """One release of Gaia, by its name in the archive: "dr2", "edr3", or a later one, which has EDR3's columns."""

    name: str

    def __post_init__(self):
        if not _GAIA_RELEASE.fullmatch(self.name):
            raise ValueError(f"release must be one of dr2, edr3, dr3 or a later one such as dr4, not {self.name!r}")

    @property
    def table(self) -> str:
        """Name of its table of sources in the archive."""
        return f"gaia{self.name}.gaia_source"

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of that table that are fetched, in its order."""
        return _DR2_COLUMNS if self.name == "dr2" else _EDR3_COLUMNS

    @property
    def file(self) -> str:
        """Name of the file that the raw folder keeps of it."""
        return f"gaia_{self.name}_sources.fits"


RELEASES = {
    "dr14": Release(
        name="dr14",
        reduction="r8",
        spectra_folder="dr14/apogee/spectro/redux/r8/stars",
        spectra_by="location_id",
        allstar=TableFile(
            "allStar-l31c.2.fits",
            "dr14/apogee/spectro/redux/r8/stars/l31c/l31c.2",
            277_371,
        ),
        # Not on the SAS: repository henrysky/astroNN_spectra_paper_figures.
        stellar_parameters=TableFile("astroNN_apogee_dr14_catalog.fits", rows=277_371),
        comparisons=(
            TableFile("apogee-rc-DR14.fits", "dr14/apogee/vac/apogee-rc/cat", rows=29_502, needed=False),
            TableFile("apogee_distances-DR14.fits", "dr14/apogee/vac/apogee-distances", needed=False),
        ),
        n_rows=277_371,
        mean_spectrum_bytes=1.1e6,  # mean of four real files, of one to five visits
        commissioning_apart=True,
        apstar_layout="dr14",
    ),
    "dr17": Release(
        name="dr17",
        reduction="dr17",
        spectra_folder="dr17/apogee/spectro/redux/dr17/stars",
        spectra_by="field",
        allstar=TableFile(
            "allStar-dr17-synspec_rev1.fits",
            "dr17/apogee/spectro/aspcap/dr17/synspec_rev1",
            733_901,
        ),
        stellar_parameters=TableFile("apogee_astroNN-DR17.fits", "dr17/apogee/vac/apogee-astronn", rows=733_901),
        comparisons=(),
        n_rows=733_901,
        mean_spectrum_bytes=1.1e6,
        commissioning_apart=False,
        apstar_layout="dr17",
    ),
    "dr19": Release(
        name="dr19",
        reduction="1.4",
        spectra_folder="dr19/spectro/apogee/redux",
        spectra_by="healpix",
        allstar=TableFile("mwmAllStar-0.6.0.fits.gz", "dr19/spectro/astra/0.6.0/summary", hdu=2),
        stellar_parameters=TableFile("astraAllStarAstroNN-0.6.0.fits.gz", "dr19/spectro/astra/0.6.0/summary", hdu=2),
        comparisons=(),
        n_rows=1_000_000,  # about, DR17's 733,901 among them; for estimates before the table has been seen
        mean_spectrum_bytes=1.1e6,
        commissioning_apart=False,
        apstar_layout="dr19",
        gaia_in_allstar=True,
    ),
}
