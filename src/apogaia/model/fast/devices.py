"""Which accelerator the machine has, and so which of two code paths a computation takes."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections import Counter

import keras

__all__ = ["check_gradients", "describe", "log_once", "training_scope", "uses_device"]

logger = logging.getLogger(__name__)
_logged: set[str] = set()


def uses_device(asked: bool | None = None) -> bool:
    """Whether to use the code that JAX compiles for a device (`dropout_jax`, `training_jax`).

    Parameters
    ----------
    asked
        True or False decides; None stands for True where Keras runs on JAX and JAX has an accelerator.

    Raises
    ------
    ValueError
        If they are asked for while Keras runs on another backend.
    """
    on_jax = keras.backend.backend() == "jax"
    if asked is not None:
        if asked and not on_jax:
            raise ValueError(f"Keras runs on {keras.backend.backend()}: set KERAS_BACKEND=jax to compute on a device")
        return asked
    if not on_jax:
        return False
    import jax

    return jax.default_backend() != "cpu"


def check_gradients(what: str) -> None:
    """Check that Keras runs on a backend with gradients; numpy's predicts, but neither trains nor differentiates.

    Parameters
    ----------
    what
        Name of the computation that needs them, for instance "training".

    Raises
    ------
    ValueError
        If it does not.
    """
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax", "torch"):
        raise ValueError(
            f"{what} needs gradients, and KERAS_BACKEND={backend} has none, it only predicts:"
            " set KERAS_BACKEND to tensorflow, jax or torch"
        )


def training_scope() -> contextlib.AbstractContextManager:
    """Where a model is to be built and trained: on all GPUs if TensorFlow sees several, else where Keras puts it.

    Each batch is divided among the GPUs and the gradients are summed (`tf.distribute.MirroredStrategy`).
    """
    gpus = _tensorflow_gpus()
    if len(gpus) < 2:
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(gpus).scope()


def describe(library: str | None = None) -> str:
    """Backend and device in one line: "Keras 3.15.1 on jax, NVIDIA H100 80GB HBM3", or "..., CPU, 2 cores".

    Parameters
    ----------
    library
        Name of what computes in place of Keras, always on the CPU (for instance "numba").
    """
    cpu = f"CPU, {_cores()} cores" if _cores() > 1 else "CPU, 1 core"
    if library is not None:
        return f"{library}, {cpu}"
    counted = Counter(_accelerators()).items()
    names = [name if count == 1 else f"{count} x {name}" for name, count in counted]
    return f"Keras {keras.__version__} on {keras.backend.backend()}, {' and '.join(names) or cpu}"


def log_once(what: str, library: str | None = None) -> None:
    """Print backend and device once per process: "training: Keras 3.15.1 on jax, NVIDIA H100 80GB HBM3".

    The line is an INFO record of the logger ``apogaia.model.fast.devices``. Where nobody has set up logging for it, it
    is printed on standard error, beside the progress bars.

    Parameters
    ----------
    what
        Name of the computation, for instance "training".
    library
        As in `describe`.
    """
    line = f"{what}: {describe(library)}"
    if line in _logged:
        return
    _logged.add(line)
    if logger.hasHandlers():
        logger.info(line)
    else:
        print(line, file=sys.stderr, flush=True)


def _cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _accelerators() -> list[str]:
    """Names of the accelerators that Keras computes on, [] for the CPU."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        # Keras computes on JAX's first device; the others stay idle.
        return [] if jax.default_backend() == "cpu" else [jax.devices()[0].device_kind]
    if backend == "torch":
        import torch

        return [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    if not _tensorflow_gpus():
        return []
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus]


def _tensorflow_gpus() -> list[str]:
    if keras.backend.backend() != "tensorflow":
        return []
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices("GPU")]
