"""What the commands say of themselves: the texts of ``--help``."""

from __future__ import annotations

__all__ = [
    "DATA",
    "DATA_EPILOG",
    "DISTANCE",
    "EPILOG",
    "FETCH",
    "FETCH_EPILOG",
    "MOCK",
    "MOCK_EPILOG",
    "REDUCE",
    "REDUCE_EPILOG",
    "ZEROPOINT",
    "ZEROPOINT_EPILOG",
]

EPILOG = """examples:
  apogaia mock smoke                        simulate the smallest survey under data/smoke
  apogaia fetch dr14 --dry-run              what the real survey would take: files, bytes, time
  apogaia reduce smoke                      its spectra, normalised, in data/smoke/stars.h5
  apogaia distance apStar-r8-2M*.fits       distances of your own stars, with the model of data/mock
  apogaia distance star.fits --model data/mock/models/none.keras --output star.ecsv
  apogaia zeropoint gaia.parquet            parallax zero point of every star, in gaia_zero_point.parquet
"""


MOCK = """Simulate a survey: allStar, spectra, Gaia's sources and stellar parameters in the real file formats, below
data/<survey>/raw, and what is true of each star in data/<survey>/truth.fits. data/ lies below $APOGAIA_ROOT, else the
checkout, else the current folder.

The same survey gives the same files on every machine of one kind. Files that are there already stay: a simulation that
was stopped goes on where it was. If the survey's settings have changed, its old files are replaced.

Exit code: 0 if the survey is there, 2 if not: see the message, 130 if it was stopped by Ctrl-C."""


MOCK_EPILOG = """examples:
  apogaia mock smoke                        the smallest survey
  apogaia mock my.toml --processes 4        a survey file of yours, on four cores
"""


DATA = """The raw files of a survey, by sources.kind of the survey file: simulated surveys are made (`apogaia mock`),
those of archives fetched (`apogaia fetch`), and a folder of your own (sources.kind = "folder") is linked to. They
lie in data/<survey>/raw below $APOGAIA_ROOT, else the checkout, else the current folder. `make data` runs this.

An option that the survey's kind does not take is an error.

Exit code: 0 if the files are there, 1 if some failed to be fetched this time (run again), 2 if it could not go on: see
the message, 130 if it was stopped by Ctrl-C."""


DATA_EPILOG = """examples:
  apogaia data smoke --processes 4          simulated
  apogaia data dr14 --limit 100             fetched, as `apogaia fetch dr14 --limit 100`
  apogaia data my.toml                      links to your folder (data/README.md says what it must hold)
"""


FETCH = """Fetch a real survey into data/<survey>/raw, below $APOGAIA_ROOT, else the checkout, else the current folder:
allStar, the stellar parameters, Gaia's sources around the stars (by TAP), and one combined spectrum per star from
SDSS's Science Archive Server (or the released training and test spectra, 2 GB: survey dr14-light).

A file gets its name once it is whole and agrees with the archive's hash list. Dropped connections, time-outs and busy
servers are tried again with growing pauses. Stop it at any time: the next call goes on where it stopped. When all is
there (or the archive says that it has no such spectrum), raw/manifest.json is written, and `apogaia reduce` can start.

Exit code: 0 if the survey is complete, 1 if files failed this time (run again), 2 if it could not go on: see the
message (no connection, disk full, unknown survey), 130 if it was stopped by Ctrl-C."""


FETCH_EPILOG = """examples:
  apogaia fetch dr14 --dry-run              count, bytes and time; writes nothing
  apogaia fetch dr14 --limit 100            the first 100 stars, to try things out
  apogaia fetch dr14-light                  the paper's released spectra instead of 277,371 files
  apogaia fetch dr17 --mirror $SAS_BASE_DIR use a copy of the SAS where it lies; fetch what it lacks
  apogaia fetch dr14 --check                after doubts about the disk: read all, replace what differs
  make all SURVEY=dr14                      fetch, then the whole analysis
"""


DISTANCE = """Distances from apStar files: luminosity (fakemag), parallax and distance, each with its error from the
spread of dropout passes (model), the network's own estimate (predictive) and both together (total).

Ks and A_Ks are read from the files' headers. Stars without a usable spectrum or Ks keep their row: the column
`reason` says why, and `flags` (bits, explained under the table) whether something else is missing or doubtful. A star
unlike those that the model was trained on is flagged (OUTSIDE_TRAINING_SET), and its errors grow.

Exit code: 0 if every file has a distance, 1 if at least one has none, 2 if nothing could be tried (no model, wrong
arguments)."""


REDUCE = """Raw files to data/<survey>/stars.h5: one row per row of allStar, with the star's Gaia source, its labels and
its spectrum, normalised to 7514 pixels. A spectrum that cannot be used keeps its row, with a status and a reason.

Spectra go through in chunks of 500 stars, kept in stars.parts beside stars.h5 until that is whole: a run that was
killed, or that ends with an error, goes on where it stopped when it is started again. stars.h5 itself is there whole or
not at all, and its bytes do not depend on how often a run was stopped, how many processes worked, or on which machine
of one kind. If it is current, nothing is done.

Disk: 60 kB a star while it runs, 30 kB afterwards (277,371 stars of DR14: 17 and 8 GB; 733,901 of DR17: 45 and 22 GB).
Memory: 160 MB for each process, and 1.5 kB a star for the tables.

Exit code: 0 if stars.h5 is there, 2 if not."""


REDUCE_EPILOG = """examples:
  apogaia reduce smoke
  apogaia reduce dr14 --processes 8
  apogaia reduce dr17 --scheduler tcp://node1:8786

A cluster needs Dask, which `make environment` installs (else `pip install '.[cluster]'` in apogaia's folder), the
same version of apogaia and a disk on all machines, at the same path. Start it so, and leave it running:
  dask scheduler --port 8786                                      on one machine, node1
  dask worker tcp://node1:8786 --nworkers 16 --nthreads 1         on every machine that works
Workers may come and go: the chunk of one that dies is done again by another. If none is left for a minute, or the
scheduler goes away, the command ends with an error and the finished chunks stay. Whoever reaches a scheduler can run
any code on its workers: use it inside a network that you trust.
"""


ZEROPOINT = """The Gaia parallax zero point of every star of a table (Parquet, FITS or CSV): the same table with
four columns added:

  zero_point           [mas] Gaia minus true parallax, negative for most stars; mean over dropout draws of the network
  zero_point_error     [mas] their standard deviation
  zero_point_domain    0 where the star lies inside the range of the training set; else the sum of
                       1, 2, 4: G, BP-RP, Teff unknown; 8, 16, 32: G, BP-RP, Teff outside that range
  parallax_corrected   [mas] parallax - zero_point

Stars whose domain is not 0 have NaN (blank in CSV) in the other three; NaN, null, -9999 in FITS and blanks in CSV count
as unknown. No row is lost and the order stays, and all other columns stay as they are. The table is
read in pieces, so that it may be larger than the memory; a run that was killed goes on where it stopped when it is
started again. The zero point holds for the Gaia release that the model was trained on.

Exit code: 0 if the table is written, 1 if it is written but no star in it has a zero point, 2 if nothing is written."""


ZEROPOINT_EPILOG = """examples:
  apogaia zeropoint gaia_dr2.parquet
  apogaia zeropoint sources.fits --model data/dr14/models/multivariate.keras --output corrected.fits
  apogaia zeropoint sources.csv --teff my_teff --g-mag G
  apogaia zeropoint sources.csv --constant          one zero point for all: needs the parallax alone
"""
