"""Epochs that JAX compiles for a device, held to Keras' own `fit`, on the CPU.

The two sum in different orders, and training makes rounding grow. Adam's step is rate * m / (sqrt(v) + 1e-7): where a
gradient is near zero, rounding of size r moves the weight by up to rate * r / 1e-7 a step, and by the whole rate where
r exceeds 1e-7; a ReLU or a pooling that stands at its edge turns a last bit into another gradient. In single precision
gradients of order 1 round at 1e-7, so that on some processor some weight differs by as much as a few steps of Adam,
which is no less than what a wrong last batch does. So the two are compared in double precision. A mean over 64 stars of
gradients up to 10 then rounds at 64 * 10 * eps = 1.4e-13, and 15 steps at a rate of 3e-3 move no weight by more than
15 * 3e-3 / 1e-7 * 1.4e-13 = 6e-8. The tolerance leaves a factor of ten for steps that follow on moved weights. A
rate that is wrong by 0.1 % moves weights by 4e-5; one epoch more, a wrong last batch or no bias correction, by 4e-3 and
more.
"""

import pytest

PREPARED = """
        TOLERANCE = 6e-7

        survey = small_survey(epochs=3, plateau_threshold=1e9, plateau_patience=1)
        survey = dataclasses.replace(survey, network=dataclasses.replace(survey.network, dropout={dropout}, l2=1e-3))
        sample = synthetic_stars({stars})
        assert survey.training.batch_size == 64
        fit = training_jax.fit

        def same_order(model, batches, validation_batches, **arguments):
            batches.on_epoch_begin()  # Keras' fit looks at a batch before its first epoch
            return fit(model, batches, validation_batches, **arguments)

        patch.setattr(training_jax, "fit", same_order)

        def trained(device):
            return training.train(survey, sample, "{offset}", verbose=False, device=device)
"""


@pytest.mark.parametrize(
    ("offset", "dropout", "stars"), [("constant", 0.3, 284), ("none", 0.0, 333)], ids=["dropout", "last batch"]
)
def test_compiled_epochs_equal_fit(jax_process, offset, dropout, stars):
    """256 gradient stars are whole batches, so that the masks are the same; 300 leave a smaller last batch."""
    prepared = PREPARED.format(offset=offset, dropout=dropout, stars=stars)
    jax_process.run(
        prepared
        + """
        with double_precision():
            reference, expected = trained(device=False)
            model, history = trained(device=True)
        assert list(history) == list(expected)
        for name in expected:
            np.testing.assert_allclose(history[name], expected[name], rtol=0, atol=TOLERANCE)
        assert history["learning_rate"][0] == 2 * history["learning_rate"][2]
        for a, b in zip(model.get_weights(), reference.get_weights(), strict=True):
            assert a.dtype == np.float64
            np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE)
    """
    )


def test_compiled_epochs_in_single_precision_are_reproducible_and_reach_the_same_loss(jax_process):
    jax_process.run(
        PREPARED.format(offset="none", dropout=0.0, stars=333)
        + """
        with double_precision():
            _, expected = trained(device=True)
        (model, history), (again, _) = trained(device=True), trained(device=True)
        for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
            assert a.dtype == np.float32
            np.testing.assert_array_equal(a, b)
        # a loss is a mean over stars, in which single weights that differ hardly count
        for name in expected:
            np.testing.assert_allclose(history[name], expected[name], rtol=1e-3)
    """
    )
