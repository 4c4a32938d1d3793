"""Training of the joint networks, and the model files: one door, `trained_model`, for the notebooks."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np

from apogaia import files
from apogaia.model import networks, training_domain
from apogaia.model.fast import devices, training_jax
from apogaia.model.training_domain import TrainingDomain
from apogaia.reduction import quality_cuts, star_file
from apogaia.survey import Survey, Training
from apogaia.workspace import Workspace

__all__ = [
    "ModelFileError",
    "TrainingSet",
    "load_model",
    "read_domain",
    "read_provenance",
    "save_model",
    "train",
    "trained_model",
]

PROVENANCE = "apogaia.json"  # members of the model file's zip
DOMAIN = "domain.npz"
COLUMNS = ("k0_mag", "parallax", "parallax_error")


class ModelFileError(ValueError):
    """A model file that cannot be used; the message names the file and the remedy."""


@dataclass(frozen=True)
class TrainingSet:
    """What the networks learn from, one row per star."""

    spectrum: np.ndarray  # (n, pixels) float32, normalised
    k0_mag: np.ndarray  # extinction-corrected Ks
    parallax: np.ndarray  # Gaia's, uncorrected [mas]
    parallax_error: np.ndarray  # [mas]
    g_mag: np.ndarray
    bp_rp: np.ndarray  # [mag]
    teff: np.ndarray  # [K]

    def __len__(self) -> int:
        return len(self.spectrum)

    @classmethod
    def from_stars(cls, opened: star_file.Stars, rows: np.ndarray) -> TrainingSet:
        """Take ascending `rows` of an open stars.h5 into memory."""
        columns = {f.name: opened.table[f.name] for f in dataclasses.fields(cls)[1:]}
        labels = {name: np.asarray(column[rows], np.float64) for name, column in columns.items()}
        return cls(opened.spectra_of(rows), **labels)

    def subset(self, rows: np.ndarray) -> TrainingSet:
        """Some rows; spectra are copied."""
        return TrainingSet(*(getattr(self, f.name)[rows] for f in dataclasses.fields(self)))

    def arrays(self, offset: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Inputs by name and (n, 2) targets [parallax, error] of the model with this offset, float32.

        Raises
        ------
        ValueError
            If a value that the model needs is not finite; the message names the column.
        """
        columns = (*COLUMNS, *(networks.OFFSET_INPUTS if offset == "multivariate" else ()))
        for name in ("spectrum", *columns):
            # the sum is finite only if all values are, and needs no array as large as the spectra
            if not np.isfinite(np.sum(getattr(self, name))):
                raise ValueError(f"{name} of the training set has values that are not finite: check the cuts")
        inputs = {"spectrum": self.spectrum, "k_mag": _column(self.k0_mag)}
        if offset == "multivariate":
            inputs |= {name: _column(getattr(self, name)) for name in networks.OFFSET_INPUTS}
        return inputs, np.column_stack([self.parallax, self.parallax_error]).astype(np.float32)


def train(
    survey: Survey, sample: TrainingSet, offset: str, *, verbose: bool = True, device: bool | None = None
) -> tuple[keras.Model, dict[str, list[float]]]:
    """Train one joint network.

    Adam, the learning rate halved on a plateau of the validation loss, a seeded split into gradient and validation
    stars. The same survey and sample give the same weights, bit for bit, on one kind of CPU.

    Parameters
    ----------
    survey
        Its sections ``network`` and ``training`` are used.
    sample
        The training set; scales and mean spectrum are those of its gradient stars.
    offset
        "none", "constant" or "multivariate".
    verbose
        Print one line per epoch.
    device
        Whether JAX compiles whole epochs (`device_training`); None: where Keras runs on JAX with an accelerator.

    Returns
    -------
    model, history
        History per epoch: ``loss``, ``val_loss``, ``learning_rate``, and for "constant" ``offset`` [mas].

    Raises
    ------
    ValueError
        If the sample has values that are not finite or too few stars to split.
    """
    settings = survey.training
    gradient, validation = split(len(sample), settings.validation_fraction, settings.seed)
    inputs, targets = sample.arrays(offset)
    colours = np.column_stack([getattr(sample, name)[gradient] for name in networks.OFFSET_INPUTS])
    _be_reproducible(settings.seed)
    rate = settings.learning_rate_without_offset if offset == "none" else settings.learning_rate_with_offset
    with devices.training_scope():
        model = networks.build_joint_network(
            survey.network,
            offset,
            mean_spectrum=_mean_of_rows(sample.spectrum, gradient),
            parallax_scale=float(np.std(sample.parallax[gradient])),
            offset_mean=colours.mean(axis=0),
            offset_sd=colours.std(axis=0),
            variance_form=settings.variance_form,
        )
        model.compile(optimizer=keras.optimizers.Adam(rate), loss=_loss(settings))
    batches = Batches(inputs, targets, gradient, settings.batch_size, shuffle_seed=settings.seed)
    validation_batches = Batches(inputs, targets, validation, settings.batch_size)
    callbacks = [
        keras.callbacks.ReduceLROnPlateau(
            monitor="val_loss",
            factor=settings.plateau_factor,
            patience=settings.plateau_patience,
            min_delta=settings.plateau_threshold,
            min_lr=settings.min_learning_rate,
        ),
        EpochReport(settings.epochs, verbose),
    ]
    if devices.uses_device(device):
        history = training_jax.fit(model, batches, validation_batches, epochs=settings.epochs, callbacks=callbacks)
    else:
        batches, validation_batches = in_one_thread(batches, validation_batches)
        history = model.fit(
            batches,
            validation_data=validation_batches,
            epochs=settings.epochs,
            shuffle=False,
            verbose=0,
            callbacks=callbacks,
        )
    return model, {name: [float(value) for value in values] for name, values in history.history.items()}


def trained_model(survey: Survey, workspace: Workspace, offset: str) -> keras.Model:
    """The trained model of a survey: the one in the workspace if it is current, else trained now and saved there.

    It is current while the survey's settings, stars.h5 and the modules that compute it have not changed. The history
    is written beside it.
    """
    path = workspace.model(offset)
    settings = survey.settings("cuts", "network", "training") | {"offset": offset}
    key = files.fingerprint(
        settings, [workspace.stars], [networks, quality_cuts, training_jax, training_domain, sys.modules[__name__]]
    )
    if files.is_current(path, key) and workspace.history(offset).is_file():
        return load_model(path)
    with star_file.open_stars(workspace.stars) as opened:
        selected = quality_cuts.select(opened.table, survey)
        rows = selected.training_multivariate if offset == "multivariate" else selected.training
        sample = TrainingSet.from_stars(opened, rows)
    model, history = train(survey, sample, offset)
    gradient, _ = split(len(sample), survey.training.validation_fraction, survey.training.seed)
    domain = TrainingDomain.fit(sample, gradient, seed=survey.training.seed)
    files.write_json(workspace.history(offset), history)
    origin = provenance(survey, sample, offset)
    files.mark_current(path, key, lambda temporary: save_model(model, temporary, origin, domain))
    return load_model(path)


def provenance(survey: Survey, sample: TrainingSet, offset: str) -> dict:
    """What a model file says about its origin: survey, settings, sample counts, scale and package versions."""
    settings = survey.training
    gradient, validation = split(len(sample), settings.validation_fraction, settings.seed)
    return {
        "survey": survey.name,
        "title": survey.title,
        "offset": offset,
        "seed": settings.seed,
        "gradient_stars": len(gradient),
        "validation_stars": len(validation),
        "parallax_scale_mas": float(np.std(sample.parallax[gradient])),
        "training_range": _training_range(sample, gradient) if offset == "multivariate" else {},
        "settings": survey.settings(),
        "keras_backend": keras.backend.backend(),
        "versions": {name: version(name) for name in ("apogaia", "keras", "numpy")},
    }


def _training_range(sample: TrainingSet, rows: np.ndarray) -> dict[str, list[float]]:
    """Percentiles 0.5 and 99.5 of the offset's inputs: a single far star does not calibrate the range up to it."""
    return {name: np.percentile(getattr(sample, name)[rows], [0.5, 99.5]).tolist() for name in networks.OFFSET_INPUTS}


def save_model(
    model: keras.Model, path: str | Path, provenance: Mapping, training_domain: TrainingDomain | None = None
) -> None:
    """Write a ``.keras`` file that is whole: network, weights, provenance and, unless None, the training set in short.

    The last two are the members ``apogaia.json`` and ``domain.npz``. The optimiser's state stays out, and so do dates:
    the same model gives the same bytes.
    """
    bare = keras.Model.from_config(model.get_config())
    bare.set_weights(model.get_weights())
    with tempfile.TemporaryDirectory() as folder:
        plain, origin = Path(folder) / "model.keras", Path(folder) / PROVENANCE
        bare.save(plain)
        files.write_json(origin, provenance)
        with zipfile.ZipFile(plain) as archive:
            members = {name: archive.read(name) for name in sorted(archive.namelist())}
        members[PROVENANCE] = origin.read_bytes()
    if training_domain is not None:
        members[DOMAIN] = training_domain.to_bytes()
    metadata = json.loads(members["metadata.json"])
    metadata.pop("date_saved", None)
    members["metadata.json"] = json.dumps(metadata, sort_keys=True).encode()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), data)
    with files.atomic(path) as temporary:
        temporary.write_bytes(content.getvalue())


def load_model(path: str | Path) -> keras.Model:
    """Read a model that `save_model` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If it is no apogaia model, or damaged.
    """
    read_provenance(path)
    return keras.models.load_model(path, compile=False)


def read_provenance(path: str | Path) -> dict:
    """What a model file says about its origin; raises as `load_model` does."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model; run notebook 02 or `make` to train it")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged is not None:
                raise ModelFileError(f"{path}: damaged ({damaged} fails its checksum): delete it and train again")
            return json.loads(archive.read(PROVENANCE))
    except (zipfile.BadZipFile, KeyError, json.JSONDecodeError) as error:
        raise ModelFileError(f"{path}: not a model that apogaia wrote: give the file that notebook 02 saves") from error


def read_domain(path: str | Path) -> TrainingDomain | None:
    """The training set of a model file, in short; raises as `load_model` does.

    None, with a warning, for a file that was written before models knew their training set: it flags no star.
    """
    read_provenance(path)
    with zipfile.ZipFile(path) as archive:
        content = archive.read(DOMAIN) if DOMAIN in archive.namelist() else None
    if content is not None:
        try:
            return TrainingDomain.from_bytes(content)
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ModelFileError(f"{path}: {DOMAIN} is of another version of apogaia: train the model again") from error
    warnings.warn(
        f"{path} does not know its training set: no star is flagged as outside it; train the model again (notebook 02)",
        stacklevel=2,
    )
    return None


class Batches(keras.utils.PyDataset):
    """Batches of rows of arrays in memory, shuffled anew before every epoch if there is a seed."""

    def __init__(self, inputs, targets, rows, batch_size: int, shuffle_seed: int | None = None):
        super().__init__()
        self.inputs, self.targets, self.rows, self.batch_size = inputs, targets, rows, batch_size
        self.generator = None if shuffle_seed is None else np.random.default_rng([shuffle_seed, 1])

    def __len__(self):
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, index):
        rows = self.rows[index * self.batch_size : (index + 1) * self.batch_size]
        return {name: values[rows] for name, values in self.inputs.items()}, self.targets[rows]

    def on_epoch_begin(self):
        if self.generator is not None:
            self.rows = self.generator.permutation(self.rows)


def in_one_thread(*several: Batches) -> Sequence:
    """The same batches, of the same arrays, as TensorFlow datasets that the step's own thread gathers in memory.

    Keras asks a PyDataset for batches in a thread of its own. On a CPU that thread fights the step for the cores and
    for Python's lock: 16 to 21 ms a step, by chance, instead of 14. On GPUs and other backends the batches stay as they
    are.
    """
    if keras.backend.backend() != "tensorflow":
        return several
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return several
    options = tf.data.Options()
    options.autotune.enabled = False  # it would add a thread that fetches ahead
    arrays = tf.nest.map_structure(tf.constant, (several[0].inputs, several[0].targets))

    def dataset(batches: Batches) -> tf.data.Dataset:
        def rows():
            batches.on_epoch_begin()
            yield batches.rows

        epoch = tf.data.Dataset.from_generator(rows, output_signature=tf.TensorSpec((None,), tf.int64))
        chosen = epoch.flat_map(tf.data.Dataset.from_tensor_slices).batch(batches.batch_size)
        gathered = chosen.map(lambda rows: tf.nest.map_structure(lambda values: tf.gather(values, rows), arrays))
        return gathered.apply(tf.data.experimental.assert_cardinality(len(batches))).with_options(options)

    return [dataset(batches) for batches in several]


class EpochReport(keras.callbacks.Callback):
    """Add the constant zero point to the history, and print one line per epoch."""

    def __init__(self, epochs: int, verbose: bool):
        super().__init__()
        self.epochs, self.verbose = epochs, verbose

    def on_epoch_end(self, epoch, logs=None):
        if self.model.name == "joint_constant":
            ones = np.ones((1, len(networks.OFFSET_INPUTS)), np.float32)
            logs["offset"] = float(keras.ops.convert_to_numpy(self.model.get_layer("offset")(ones))[0, 0])
        if self.verbose:
            values = "  ".join(f"{name} {value:.4g}" for name, value in logs.items())
            print(f"epoch {epoch + 1}/{self.epochs}  {values}", flush=True)


def _loss(settings: Training):
    if settings.contaminant_fraction == 0:
        return networks.parallax_loss
    return networks.robust_parallax_loss(settings.contaminant_fraction, settings.contaminant_width)


def split(n_stars: int, validation_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of gradient and validation stars, each ascending."""
    n_validation = round(n_stars * validation_fraction)
    if not 0 < n_validation < n_stars:
        raise ValueError(f"{n_stars} training stars are too few to keep {validation_fraction:.0%} for validation")
    shuffled = np.random.default_rng([seed, 0]).permutation(n_stars)
    return np.sort(shuffled[n_validation:]), np.sort(shuffled[:n_validation])


def _mean_of_rows(spectrum: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mean spectrum of some rows, in double precision and without a copy of them all."""
    blocks = np.array_split(rows, -(-len(rows) // 1024))
    return sum(np.sum(spectrum[block], axis=0, dtype=np.float64) for block in blocks) / len(rows)


def _be_reproducible(seed: int) -> None:
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def _column(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32)[:, None]
