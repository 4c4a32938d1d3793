"""What the machine has besides its CPU, and so which of two ways a computation takes."""

from __future__ import annotations

import contextlib

import keras

__all__ = ["training_scope", "uses_device"]


def uses_device(asked: bool | None = None) -> bool:
    """Whether to take the ways that JAX compiles for a device (`device_dropout`, `device_training`).

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


def training_scope() -> contextlib.AbstractContextManager:
    """Where a model is to be built and trained: on all GPUs if TensorFlow sees several, else where Keras puts it.

    Each batch is divided among the GPUs and the gradients are summed (`tf.distribute.MirroredStrategy`).
    """
    gpus = _tensorflow_gpus()
    if len(gpus) < 2:
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(gpus).scope()


def _tensorflow_gpus() -> list[str]:
    if keras.backend.backend() != "tensorflow":
        return []
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices("GPU")]
