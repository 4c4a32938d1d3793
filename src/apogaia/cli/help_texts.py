"""The texts of ``--help`` for each command."""

from __future__ import annotations

__all__ = [
    "ASTRA",
    "ASTRA_EPILOG",
    "COMPARE",
    "COMPARE_EPILOG",
    "COMPLETION",
    "COMPLETION_EPILOG",
    "DATA",
    "DATA_EPILOG",
    "DISTANCE",
    "DISTANCE_EPILOG",
    "EPILOG",
    "EXPLORE",
    "EXPLORE_EPILOG",
    "FETCH",
    "FETCH_EPILOG",
    "IMPORT_MODEL",
    "IMPORT_MODEL_EPILOG",
    "INFO",
    "INFO_EPILOG",
    "MOCK",
    "MOCK_EPILOG",
    "MODELS",
    "MODELS_EPILOG",
    "PARAMETERS",
    "PARAMETERS_EPILOG",
    "PREDICT",
    "PREDICT_EPILOG",
    "REDUCE",
    "REDUCE_EPILOG",
    "TRAIN",
    "TRAIN_EPILOG",
    "ZEROPOINT",
    "ZEROPOINT_EPILOG",
]

EPILOG = """examples:
  apogaia mock smoke                        simulate the smallest survey under data/smoke
  apogaia fetch dr14 --dry-run              how many files, bytes and hours the real survey takes
  apogaia reduce smoke                      normalise its spectra, into data/smoke/stars.h5
  apogaia train smoke                       train its networks
  apogaia predict smoke                     luminosities of all its stars
  apogaia distance apStar-r8-2M*.fits --model dr14.keras    distances of your own stars
  apogaia distance star.fits --model data/mock/models/none.keras --output star.ecsv
  apogaia parameters apStar-r8-2M*.fits     Teff, log g and abundances of the same stars
  apogaia astra smoke                       the survey's products in the format of SDSS's Astra
  apogaia compare mine.fits apogee-rc-DR14.fits    offset and scatter of two catalogues' distances
  apogaia explore mock                      the catalogue as one web page: map, Kiel diagram, single stars
  apogaia zeropoint gaia.parquet            parallax zero point of every star, in gaia_zero_point.parquet
  apogaia models                            published networks, and where they are
  apogaia train smoke                       train its networks: as make all, without notebooks and figures
  apogaia info distances.fits star.fits     say what files are: model, catalogue, spectrum, survey
  apogaia --log night.log fetch dr14        keep the output of a long command in a file
  source <(apogaia completion bash)         complete commands and options with the Tab key
"""


MOCK = """Simulate a survey: allStar, spectra, Gaia's sources and stellar parameters in the real file formats, under
data/<survey>/raw, and the true values for each star in data/<survey>/truth.fits. data/ is in $APOGAIA_ROOT if that is
set, else in the checkout, else in the current folder.

The same survey gives the same files on every machine of the same kind. Existing files are kept: an interrupted
simulation resumes. If the survey's settings have changed, its old files are replaced.

Exit code: 0 if the survey is complete, 2 if not (see the message), 130 if it was stopped by Ctrl-C."""


MOCK_EPILOG = """examples:
  apogaia mock smoke                        the smallest survey
  apogaia mock my.toml --processes 4        your own survey file, on four cores
"""


DATA = """Provide the raw files of a survey, according to sources.kind in the survey file: simulated surveys are made
(`apogaia mock`), archive surveys are fetched (`apogaia fetch`), and your own folder (sources.kind = "folder") is
linked. The files are in data/<survey>/raw, in $APOGAIA_ROOT if that is set, else in the checkout, else in the
current folder. `make data` runs this.

An option that does not apply to the survey's kind is an error.

Exit code: 0 if the files are complete, 1 if some could not be downloaded this time (run again), 2 if it gave up
(see the message), 130 if it was stopped by Ctrl-C."""


DATA_EPILOG = """examples:
  apogaia data smoke --processes 4          simulated
  apogaia data dr14 --limit 100             fetched, as `apogaia fetch dr14 --limit 100`
  apogaia data my.toml                      links to your folder (data/README.md says what it must contain)
"""


FETCH = """Fetch a real survey into data/<survey>/raw, in $APOGAIA_ROOT if that is set, else in the checkout, else in
the current folder: allStar, the stellar parameters, Gaia's sources around the stars (by TAP), and one combined spectrum
per star from SDSS's Science Archive Server (or the released training and test spectra, 2 GB: survey dr14-light).

A file gets its name once it is complete and agrees with the archive's hash list. After dropped connections, time-outs
and busy servers it tries again, with growing pauses. You may stop it at any time: the next call resumes. When
everything has arrived (or the archive says that it has no such spectrum), raw/manifest.json is written, and
`apogaia reduce` can start.

Exit code: 0 if the survey is complete, 1 if files failed this time (run again), 2 if it gave up (see the
message: no connection, disk full, unknown survey), 130 if it was stopped by Ctrl-C."""


FETCH_EPILOG = """examples:
  apogaia fetch dr14 --dry-run              number of files, bytes and time; writes nothing
  apogaia fetch dr14 --limit 100            the first 100 stars, to try things out
  apogaia fetch dr14-light                  the paper's released spectra instead of 277,371 files
  apogaia fetch dr17 --mirror $SAS_BASE_DIR link to a copy of the SAS; fetch what it lacks
  apogaia fetch dr14 --check                read all files again, replace those that differ
  make all SURVEY=dr14                      fetch, then the whole analysis
"""


DISTANCE = """Distances from apStar files: luminosity (fakemag), parallax and distance, each with its error from the
spread of dropout passes (model), from the network's own estimate (predictive), and from both together (total).

Ks and A_Ks are read from the files' headers. Stars without a usable spectrum or Ks keep their row: the column
`reason` says why, and `flags` (bits, explained under the table) whether anything else is missing or doubtful. A star
unlike the training set is flagged (OUTSIDE_TRAINING_SET), and its errors are inflated.

With --product astra the columns, flags and rules are those of AstroNNDist, SDSS Astra's distances
(docs/astra_products.md): E(B-V) is AKTARG / 0.3517 of the header, else --ebv. The table may be written to .fits.gz.

Exit code: 0 if every file has a distance, 1 if at least one has none, 2 if nothing could be tried (no model, wrong
arguments)."""


DISTANCE_EPILOG = """examples:
  apogaia distance apStar-r8-2M*.fits --output distances.ecsv
  apogaia distance star.fits --model data/dr14/models/calibrated.keras
  apogaia distance --product astra apStar-*.fits --ebv 0.1 --output astroNNdist.fits.gz
"""


PARAMETERS = """Effective temperature, log g and abundances of 20 elements from apStar files, by the censored network,
each with its error from dropout passes and the network's own estimate. Labels and errors are calibrated.

The terminal shows some columns; --output writes all, which are those of AstroNN, SDSS Astra's product
(docs/astra_products.md): every label with its error, the uncalibrated values (raw_), and flags. With
--visits each combined spectrum is followed by its visits. A spectrum that cannot be used keeps its row: the column
`reason` says why, and NO_RESULT is set.

Exit code: 0 if every spectrum has a result, 1 if at least one has none, 2 if nothing could be tried (no model, wrong
arguments)."""


PARAMETERS_EPILOG = """examples:
  apogaia parameters apStar-r8-2M*.fits
  apogaia parameters apStar-r8-2M*.fits --visits --output parameters.ecsv
  apogaia parameters star.fits --model data/dr17/models/parameters.keras --output star.fits.gz
"""


ASTRA = """Write a survey's products in the format of SDSS's Astra to data/<survey>: astraAllStarAstroNN (labels of all
combined spectra), astraAllVisitAstroNN (of all visits, for which the apStar files are read again) and
astraAllStarAstroNNDist (distances). Columns, flags and differences from SDSS's own files are in docs/astra_products.md.

Every spectrum has its row, whatever is wrong with it. AstroNN is made in parts of 500 stars, kept beside the product
until it is complete: a killed run resumes when it is started again, with the same result to the byte. Products that
are up to date are kept. --processes and --scheduler apply to the reading of visits, as for `apogaia reduce`.

Exit code: 0 if the products are complete, 2 if not."""


ASTRA_EPILOG = """examples:
  apogaia astra smoke
  apogaia astra dr17 --product AllStarAstroNNDist
  apogaia astra dr17 --product AllVisitAstroNN --scheduler tcp://node1:8786
  apogaia astra mock --parameters-model data/dr17/models/parameters.keras
"""


REDUCE = """Reduce the raw files to data/<survey>/stars.h5: one row per row of allStar, with the star's Gaia source, its
labels and its continuum-normalised spectrum on 7514 pixels. A star without a usable spectrum keeps its row, with a
status and a reason.

Spectra are reduced in chunks of 500 stars, kept in stars.parts beside stars.h5 until it is complete: a run that was
killed, or that ended with an error, resumes when it is started again. stars.h5 itself is complete or absent, and its
bytes do not depend on how often a run was stopped, on the number of processes, or on the machine, if of the same kind.
If it is up to date, nothing is done.

Disk: 60 kB per star while it runs, 30 kB afterwards (277,371 stars of DR14: 17, then 8 GB; 733,901 of DR17: 45, 22 GB).
Memory: 160 MB per process, and 1.5 kB per star for the tables.

Exit code: 0 if stars.h5 is complete, 2 if not."""


REDUCE_EPILOG = """examples:
  apogaia reduce smoke
  apogaia reduce dr14 --processes 8
  apogaia reduce dr17 --scheduler tcp://node1:8786

A cluster needs Dask, which `make environment` installs (else `pip install '.[cluster]'` in apogaia's folder), and
the same version of apogaia and a shared disk at the same path on all machines. Start it like this and leave it running:
  dask scheduler --port 8786                                      on one machine, node1
  dask worker tcp://node1:8786 --nworkers 16 --nthreads 1         on every worker machine
Workers may come and go: if one dies, another repeats its chunk. If there is no worker for a minute, or the scheduler
disappears, the command ends with an error and the finished chunks are kept. Anyone who can reach a scheduler can run
any code on its workers: use it inside a network that you trust.
"""


ZEROPOINT = """Compute the Gaia parallax zero point of every star in a table (Parquet, FITS, CSV or ECSV) and
write a copy of the table with four more columns:

  zero_point           [mas] Gaia minus true parallax, negative for most stars; mean over dropout draws of the network
  zero_point_error     [mas] their standard deviation
  zero_point_domain    0 if the star is inside the range of the training set; else the sum of
                       1, 2, 4: G, BP-RP, Teff unknown; 8, 16, 32: G, BP-RP, Teff outside that range
  parallax_corrected   [mas] parallax - zero_point

Stars whose domain is not 0 have NaN (blank in CSV and ECSV) in the other three. In every format these count as
unknown: NaN and infinity, numbers below -9000 (-9999, -9999.99) or from 1e19 on (1e20), null and masked values, TNULL
in FITS, and the strings "", null, NaN, None, NA, --. If only the parallax is unknown, parallax_corrected is NaN and
the domain stays 0.

TABLE is one of
  .parquet, .pq        or a folder with such files and subfolders, as Spark, Dask and LSDB write them: one table, whose
                       output is one file, in the order of their paths; names that begin with _ or . are skipped
  .fits, .fit          the first binary table
  .csv                 one line of column names; lines before it that begin with # are kept
  .ecsv                with commas or blanks; Gaia's GaiaSource_*.csv.gz are read as they are
FITS, CSV and ECSV are unpacked if they are gzipped, whatever their name, and the output is gzipped if its name ends in
.gz. Columns are found in upper and lower case. Each column that is read must be there once and have one number per row
(a number as a string will do). If one is missing, doubled, a vector or not numeric, if a FITS table is ASCII, or if a
file is damaged or truncated, the command stops with a message that says what to do.

Rows, their order and all other columns are unchanged. The table is read in pieces, so it may be larger than the memory;
a killed run resumes when it is started again. The zero point is valid for the Gaia release that the model was trained
on.

Exit code: 0 if the table was written, 1 if it was written but no star in it has a zero point, 2 if nothing was
written."""


ZEROPOINT_EPILOG = """examples:
  apogaia zeropoint gaia_dr2.parquet
  apogaia zeropoint sources.fits --model data/dr14/models/multivariate.keras --output corrected.fits
  apogaia zeropoint sources.csv --teff my_teff --g-mag G
  apogaia zeropoint GaiaSource_000000-003111.csv.gz
  apogaia zeropoint gaia_dr3_parquet_folder/
  apogaia zeropoint sources.csv --constant          one zero point for all: needs only the parallax
"""


COMPARE = """Compare two catalogues of distances, star by star: median offset and robust scatter of
(FIRST - SECOND) / SECOND with their statistical errors, for all stars and in bins of distance, log g and SNR, as in
section 5.2 and Figure 9 of the paper.

Each file is recognised by its columns, in upper or lower case:
  this work              dist, dist_error, fakemag, flags (the catalogue, or `apogaia distance --output`)
  AstroNNDist of Astra   L_fakemag, dist
  astroNN                dist, dist_error, nn_parallax, weighted_dist
  APOGEE-RC              RC_DIST (kpc; has no errors: 5 % is assumed)
  BPG                    BPG_dist16, BPG_dist50, BPG_dist84 (kpc)
  Hogg, Eilers & Rix     spec_parallax, spec_parallax_err (mas)
  StarHorse              dist16, dist50, dist84 (kpc)
  APOKASC                APOKASC2_RADIUS (Rsun; distances by Ks, extinction and Teff of the other file)
  clusters               Cluster, Proba, and in the same folder a table with Cluster, DistPc (VizieR J/A+A/640/A1)
  any other table        dist, optionally dist_error, in the unit that the file states, else pc
Stars are matched by APOGEE_ID (2MASS_ID, obj) where both files have it, else by RA and DEC; each star counts once.
Distances that are NaN, masked, -9999, 0 or negative, or flagged as absent, count as unknown.

"offset excl. contaminants" and "contaminants" come from a likelihood in which some stars are off by more than the
stated errors explain: wrong kinds of stars, wrong matches. "scatter / stated errors" is 1 if the errors are right.
The errors are statistical only.

Exit code: 0 if there are stars to compare, 2 if not (see the message)."""


COMPARE_EPILOG = """examples:
  apogaia compare data/mock/apogee_nn_dist.fits apogee-rc-DR14.fits
  apogaia compare distances.ecsv astraAllStarAstroNNDist-0.6.0.fits.gz --figure compared.png
  apogaia compare mine.fits apogee_distances-DR14.fits --output compared.json --max-error inf
"""


EXPLORE = """Write a web page to explore a catalogue: a face-on map of the Galaxy, the Kiel diagram, and the network's
parallax against Gaia's. Stars selected in one figure are selected in all, and any column can set the colours. A click
or an APOGEE id shows one star: its numbers, its flags in words, its spectrum, and the sensitivity of the network to
each pixel (the derivative of fakemag with respect to the flux).

CATALOGUE is the name of a survey that was run in this folder (mock), or a file. apogaia's own catalogue has all
columns; any other that `apogaia compare` reads works too, as far as its columns allow. The page is one file: it needs
no network, and you may send it to others.

A page holds at most --stars stars; of a larger catalogue, a random sample, and it says so. It holds the spectra of a
few hundred stars (20 kB each) from stars.h5, taken from each cell of the Kiel diagram in turn, highest SNR first.
--star adds any other. The sensitivity needs the model that made the catalogue; it is found in models/ by
its hash.

Exit code: 0 if the page was written, 2 if not (see the message)."""


EXPLORE_EPILOG = """examples:
  apogaia explore mock                                       build/mock/explorer.html
  apogaia explore data/mock/apogee_nn_dist.fits --output here.html
  apogaia explore mock --star 2M23184784-0518143             with this star's spectrum
  apogaia explore mine.fits --data data/dr14 --spectra 1000  stars.h5 and models/ are elsewhere
  apogaia explore astraAllStarAstroNNDist-0.6.0.fits.gz --stars 50000
"""


MODELS = """List the published networks that apogaia can read: what each is, where it is, licence and citation; or, with
fetch, get the files of one. Existing files are kept; new ones are checked against their hash if it is known. Without
a network, the message says where to get the folder by hand and where to put it.

Exit code: 0 if the list was printed or the files are complete, 2 if not."""


MODELS_EPILOG = """examples:
  apogaia models
  apogaia models fetch dr14-constant        into data/published/dr14-constant; then `apogaia import-model`
"""


IMPORT_MODEL = """Write a published network as a model of apogaia, for `apogaia distance`, `parameters` and `zeropoint`:
model folders of every generation (astroNN_model_parameter.json beside model_weights.h5 or .keras), and PyTorch's files
of SDSS's Astra. docs/published_models.md says what is checked and what such a model can do.

No code in the files is run, and their numbers are checked: shapes, and whether they are finite. The errors are the
network's own, uncalibrated, and no star is flagged as outside the training set. A constant zero point is printed both
as the paper evaluated it and as the network was trained.

Exit code: 0 if the model was written, 2 if not."""


IMPORT_MODEL_EPILOG = """examples:
  apogaia import-model data/published/dr14-constant --output dr14-constant.keras
  apogaia import-model astroNN_dist_model_parameter.pt --output astra.keras
  apogaia distance apStar-r8-2M*.fits --model dr14-constant.keras
"""


TRAIN = """Train the networks of a survey, starting from its raw files: the spectra are reduced first if necessary. Each
network is written to data/<survey>/models; a network made from the same stars with the same settings is kept. An
interrupted training resumes from its last epoch.

  parameters    Teff, log g and 20 abundances; made if the survey's labels are its own (labels.source = "own")
  none, constant, multivariate    the paper's three models: luminosity without a zero point, with one, and with one that
                depends on G, BP-RP and Teff (left out, with a message, if the stars have none of these)
  calibrated    trained with the zero point of the refit: use this one for distances

`make all` does the same, and also makes figures, numbers and the catalogue.

Exit code: 0 if all are trained, 1 if the one you asked for is left out, 2 if not (see the message), 130 if it was
stopped by Ctrl-C."""


TRAIN_EPILOG = """examples:
  apogaia mock smoke && apogaia train smoke     the smallest simulated survey, some two minutes
  apogaia train my.toml --model calibrated      only the network for distances
  apogaia --log train.log train dr14            takes hours; its output is kept in train.log
"""


PREDICT = """Predict the luminosities of all stars of a survey with one of its networks, by Monte-Carlo dropout, into
data/<survey>/predictions/<model>.npz. Notebook 04 makes the catalogue from them. What was predicted with the same
network and settings is kept, and an interrupted run resumes from its last stars.

The file holds the arrays fakemag, model_error, predictive_error and total_error, in fakemag's unit (mas), a value for
each row of stars.h5: NaN where there is no spectrum.

`apogaia train` makes the networks; `make all` runs both commands.

Exit code: 0 if the luminosities are there, 2 if not (see the message), 130 if it was stopped by Ctrl-C."""


PREDICT_EPILOG = """examples:
  apogaia predict smoke                     with the network that the survey's catalogue is made with
  apogaia predict mock --model none         with the one that was trained without a zero point
"""


INFO = """Say what files are, from their content: model files (their training set, their zero point), catalogues (rows,
flags, survey), spectra, stars.h5 (how many stars have which status), survey files, and the tables of APOGEE, Gaia and
others that the commands read.

Exit code: 0 if all files are recognised, 2 if not (see the message)."""


INFO_EPILOG = """examples:
  apogaia info data/mock/models/*.keras
  apogaia info data/mock/apogee_nn_dist.fits apStar-r8-2M00004994+1621552.fits
"""


COMPLETION = """Print a script that lets the shell complete commands, options and file names."""


COMPLETION_EPILOG = """examples:
  source <(apogaia completion bash)                                   for this shell
  apogaia completion bash >> ~/.bash_completion                       for every new one
  apogaia completion zsh > ~/.zsh/completions/_apogaia                in a folder of fpath
"""
