"""The archives of a simulated survey: its files served as SAS, Gaia archive, Zenodo and GitHub serve the real ones."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from astropy.table import Table
from stand_in import Request, Response, serve_folder
from stand_in_tap import StandInTap

from apogaia.reduction.stars_h5 import open_stars
from apogaia.survey import Survey
from apogaia.workspace import Workspace

ZENODO_RECORD = "/zenodo/api/records/1"


class ArchiveOf:
    """A handler for `stand_in.StandIn`: the raw files of a simulated survey in the archives' layouts.

    Attributes
    ----------
    tap
        The TAP service, whose faults can be set.
    hash_lists
        Path -> bytes that are answered instead of the true list.
    """

    def __init__(self, workspace: Workspace, released: Path | None = None):
        self.workspace, self.released = workspace, released
        release = workspace.release
        self.spectra = f"/sas/{release.spectra_folder}/"
        self.files = {
            f"/sas/{release.allstar.sas_path}": workspace.allstar,
            f"/sas/{release.stellar_parameters.sas_path}": workspace.stellar_parameters,
            "/github/stellar_parameters.fits": workspace.stellar_parameters,
        }
        tables = {}
        if not release.gaia_in_allstar:
            sources = Table.read(workspace.gaia)
            tables[workspace.gaia_release.table] = {name: np.asarray(sources[name]) for name in sources.colnames}
        self.tap = StandInTap(tables)
        self.hash_lists: dict[str, bytes] = {}
        self.folder = serve_folder({self.spectra: workspace.raw})

    def __call__(self, request: Request) -> Response:
        path = request.path
        if path.startswith("/tap"):
            return self.tap(request)
        if path in self.hash_lists:
            return Response(body=self.hash_lists[path])
        if path.startswith(self.spectra) and path.endswith(".sha1sum"):
            return self.hash_list((self.workspace.raw / path.removeprefix(self.spectra)).parent)
        if path in self.files:
            return Response(body=self.files[path])
        if path.startswith("/zenodo/"):
            return self.zenodo(path)
        return self.folder(request)

    @staticmethod
    def hash_list(folder: Path) -> Response:
        """As `sha1sum *` in that folder prints it; pointings have other files, too."""
        lines = [f"{'e' * 40}  other.fits\n"]
        lines += [f"{sha1(path)}  {path.name}\n" for path in sorted(folder.glob("a[ps]Star*-*.fits"))]
        return Response(headers={"Content-Type": "text/plain"}, body="".join(lines).encode())

    def zenodo(self, path: str) -> Response:
        if path == ZENODO_RECORD:
            listed = [
                {
                    "key": file.name,
                    "size": file.stat().st_size,
                    "checksum": f"md5:{hashlib.md5(file.read_bytes()).hexdigest()}",
                    "links": {"self": f"{self.url}/zenodo/api/records/1/files/{file.name}/content"},
                }
                for file in sorted(self.released.glob("*.h5"))
            ]
            body = json.dumps({"id": 1, "files": listed}).encode()
            return Response(headers={"Content-Type": "application/json"}, body=body)
        file = self.released / path.split("/")[-2]
        return Response(body=file) if file.is_file() else Response(404)


def sha1(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


def fetched_survey(simulated: Workspace, url: str, **archive) -> Survey:
    """The simulated survey as one to be fetched from the stand-in at `url`; quick to give up."""
    survey = simulated.survey
    on_sas = bool(simulated.release.stellar_parameters.folder)
    settings = {
        "sas": f"{url}/sas",
        "allstar_sha1": sha1(simulated.allstar),
        "gaia_tap": f"{url}/tap",
        "stellar_parameters": "" if on_sas else f"{url}/github/stellar_parameters.fits",
        "zenodo": f"{url}{ZENODO_RECORD}",
        "timeout": 0.5,
        "gaia_radius": 8.0,  # simulated neighbours lie within 6 arcsec: the whole table comes back
        **archive,
    }
    return replace(
        survey,
        sources=replace(survey.sources, kind="archive"),
        archive=replace(survey.archive, **settings),
        labels=replace(survey.labels, source="external"),
    )


def survey_file(survey: Survey, base: str, path: Path) -> Path:
    """A survey file that gives `survey` (as `fetched_survey` makes it from survey `base`) to the command line."""
    archive = survey.archive
    path.write_text(
        f'extends = "{base}"\ntitle = "from a stand-in"\n[sources]\nkind = "archive"\n'
        f'[archive]\nsas = "{archive.sas}"\n'
        f'allstar_sha1 = "{archive.allstar_sha1}"\ngaia_tap = "{archive.gaia_tap}"\nzenodo = "{archive.zenodo}"\n'
        f'stellar_parameters = "{archive.stellar_parameters}"\ntimeout = "{archive.timeout} s"\n'
        f'gaia_radius = "{archive.gaia_radius} arcsec"\n'
        f"attempts = {archive.attempts}\ngaia_chunk = {archive.gaia_chunk}\n"
        f'[labels]\nsource = "{survey.labels.source}"\n',
        encoding="utf-8",
    )
    return path


def write_released_spectra(workspace: Workspace, folder: Path) -> None:
    """The two files of released spectra, from a reduced survey: stars of SNR above and below 200."""
    folder.mkdir(parents=True, exist_ok=True)
    with open_stars(workspace.stars) as stars:
        table = stars.table
        good = np.asarray(table["status"]) == 0
        bright = np.asarray(table["snr"]) > 200
        for name, rows in (("train", good & bright), ("test", good & ~bright)):
            # In another order than allStar's, as samples are that were shuffled.
            index = np.random.default_rng(1).permutation(np.flatnonzero(rows))
            with h5py.File(folder / f"gaia_dr2_{name}.h5", "w") as file:
                file["spectra"] = stars.spectra[:][index]
                file["allstar_idx"] = index
                file["RA"], file["DEC"] = table["ra_apogee"][index], table["dec_apogee"][index]
                file["SNR"] = table["snr"][index]
