"""On a GPU host: training of the three models at the paper's size, and Monte-Carlo dropout of its catalogue.

35,112 training stars (31,601 of them for the gradient) and 277,371 spectra of random numbers, 100 passes each, in
memory. Runs with the JAX backend, in a separate process; one run each, including compilation.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time

from benchmarks.measuring import Quantity, gpu_name, in_new_process, seconds

TRAINING_STARS, CATALOGUE_STARS = 35_112, 277_371

QUANTITIES = (
    *(Quantity(f"training_{offset}_seconds", f"training, {offset}", "s") for offset in ("none", "constant")),
    Quantity("training_multivariate_seconds", "training, multivariate", "s"),
    Quantity("mc_dropout_seconds", f"dropout, {CATALOGUE_STARS:,} spectra", "s"),
    Quantity("mc_dropout_spectra_per_second", "dropout", "spectra/s"),
)


def measure(quick: bool = False) -> dict:
    """The numbers, or ``{"skipped": why}`` where there is no GPU."""
    if gpu_name() is None:
        return {"skipped": "no GPU on this host (nvidia-smi finds none)"}
    arguments = ["--quick"] if quick else []
    return in_new_process("gpu", *arguments, environment={"KERAS_BACKEND": "jax"})


def measure_here(quick: bool) -> dict:
    """The same in this process, with the backend it has."""
    import keras

    from apogaia.model import inference, networks, training
    from apogaia.survey import load_survey
    from benchmarks.mc_dropout import random_spectra
    from benchmarks.training_step import random_sample

    backend = keras.backend.backend()
    if not has_gpu(backend):
        return {"skipped": f"Keras' backend {backend} sees no GPU: install requirements-cuda.lock"}
    survey = load_survey("dr14")
    if quick:
        survey = dataclasses.replace(survey, training=dataclasses.replace(survey.training, epochs=1))
    sample = random_sample(200 if quick else TRAINING_STARS, 7514)
    values = {"backend": backend, "training_stars": len(sample), "epochs": survey.training.epochs}
    for offset in networks.OFFSETS:
        start = time.perf_counter()
        model, _ = training.train(survey, sample, offset, verbose=False)
        values[f"training_{offset}_seconds"] = time.perf_counter() - start
    spectra = random_spectra(200 if quick else CATALOGUE_STARS)
    took = seconds(lambda: inference.predict(model, spectra, passes=survey.inference.passes, seed=1, progress=False))
    return values | {"mc_dropout_seconds": took, "mc_dropout_spectra_per_second": len(spectra) / took}


def has_gpu(backend: str) -> bool:
    """Whether the backend, "jax" or "tensorflow", works on a GPU."""
    if backend == "jax":
        import jax

        return jax.default_backend() == "gpu"
    if backend == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))
    return False


if __name__ == "__main__":
    print(json.dumps(measure_here("--quick" in sys.argv)))
