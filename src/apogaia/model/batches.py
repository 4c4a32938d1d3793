"""The training set in batches."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

__all__ = ["Batches", "in_one_thread"]


class Batches(keras.utils.PyDataset):
    """Batches of rows of arrays in memory, reshuffled before every epoch if there is a seed."""

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
        """Reshuffle the rows."""
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
