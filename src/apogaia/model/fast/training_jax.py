"""Training with the whole sample on the device and whole epochs compiled, for Keras on JAX.

`keras.Model.fit` sends every batch of 64 stars to the device and waits for it: 53,000 times for three models of the
paper's size, each much longer than the arithmetic takes. Here the spectra go over once (0.95 GB for 31,601 stars), and
a compiled loop takes the batches from them by their rows. Everything else is Keras' own: layers, loss, regularisation,
optimiser and callbacks, through its stateless interface (Keras' guide "Writing a training loop from scratch in JAX").
`fit` is the reference: the same batches in the same order give the same weights up to rounding, dropout included; but
for the masks of a last batch that is not full.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

__all__ = ["fit"]


def fit(
    model: keras.Model,
    batches,
    validation_batches,
    *,
    epochs: int,
    callbacks: Sequence[keras.callbacks.Callback],
    initial_epoch: int = 0,
) -> None:
    """Do what ``model.fit`` does with these batches, on JAX's default device.

    Parameters
    ----------
    model
        Compiled with an optimiser and a loss per star; the loss is the only metric.
    batches, validation_batches
        The two `batches.Batches` of the same arrays; their rows, in each epoch's order, and batch size are used.
    epochs, callbacks, initial_epoch
        As for ``model.fit``; callbacks act between epochs only, and may end the training.
    """
    import jax

    data = jax.device_put((batches.inputs, batches.targets))
    train_epoch, validation_loss = jax.jit(_train_epoch(model)), jax.jit(_validation_loss(model))
    validation = _full_batches(validation_batches.rows, validation_batches.batch_size)
    model.optimizer.build(model.trainable_variables)
    notified = keras.callbacks.CallbackList(callbacks, model=model, epochs=epochs, verbose=0)
    model.stop_training = False
    notified.on_train_begin()
    for epoch in range(initial_epoch, epochs):
        notified.on_epoch_begin(epoch)
        batches.on_epoch_begin()
        state, loss = train_epoch(_state(model), data, *_full_batches(batches.rows, batches.batch_size))
        _assign(model, state)
        logs = {"loss": float(loss), "val_loss": float(validation_loss(state, data, *validation))}
        notified.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    notified.on_train_end()


def _train_epoch(model: keras.Model):
    """(state, data, rows, weights (steps, batch)) -> state after an epoch, mean loss per star of its steps."""
    import jax

    loss_and_gradient = jax.value_and_grad(_loss(model, training=True), has_aux=True)

    def train_epoch(state, data, rows, weights):
        def step(state, batch):
            trainable, other, optimiser = state
            (loss, other), gradient = loss_and_gradient(trainable, other, data, *batch)
            trainable, optimiser = model.optimizer.stateless_apply(optimiser, gradient, trainable)
            return (trainable, other, optimiser), loss

        state, losses = jax.lax.scan(step, state, (rows, weights))
        return state, (losses * weights.sum(axis=1)).sum() / weights.sum()

    return train_epoch


def _validation_loss(model: keras.Model):
    """(state, data, rows, weights (steps, batch)) -> mean loss per star, without dropout."""
    import jax

    loss_of = _loss(model, training=False)

    def validation_loss(state, data, rows, weights):
        trainable, other, _ = state
        losses = jax.lax.map(lambda batch: loss_of(trainable, other, data, *batch)[0], (rows, weights))
        return (losses * weights.sum(axis=1)).sum() / weights.sum()

    return validation_loss


def _loss(model: keras.Model, training: bool):
    """(trainable, other variables, data, rows, weights) -> mean loss with regularisation; other variables afterwards.

    The other variables hold the seeds of the dropout.
    """

    def loss_of(trainable, other, data, rows, weights):
        inputs, targets = data
        stars = {name: values[rows] for name, values in inputs.items()}
        predicted, other, penalties = model.stateless_call(
            trainable, other, stars, training=training, return_losses=True
        )
        mean = (weights * model.loss(targets[rows], predicted)).sum() / weights.sum()
        return mean + sum(penalties), other

    return loss_of


def _full_batches(rows: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and weights, (steps, batch size): the last batch is filled up with stars of no weight.

    With one size of batch there is one function to compile, which takes as long as some epochs.
    """
    missing = -len(rows) % batch_size
    filled = np.append(rows, np.zeros(missing, int)).astype(np.int32)
    weights = np.append(np.ones(len(rows)), np.zeros(missing)).astype(np.float32)
    return filled.reshape(-1, batch_size), weights.reshape(-1, batch_size)


def _state(model: keras.Model) -> tuple[list, ...]:
    return tuple([variable.value for variable in group] for group in _variables(model))


def _assign(model: keras.Model, state: tuple[list, ...]) -> None:
    for group, values in zip(_variables(model), state, strict=True):
        for variable, value in zip(group, values, strict=True):
            variable.assign(value)


def _variables(model: keras.Model) -> tuple[list, ...]:
    return model.trainable_variables, model.non_trainable_variables, model.optimizer.variables
