"""Monte-Carlo dropout that JAX compiles for a device, held to the numba version and to the Keras model, on the CPU."""

# Both sum up to 500 products in single precision, in another order on each processor: 500 eps = 6e-5 of a sum of terms
# of one sign, and less of most. One wrong bit of a mask changes the third digit.
ROUNDING = """
        ROUNDING = 1e-4
"""


def test_device_passes_are_those_of_the_cpu_whatever_the_batch(jax_process):
    jax_process.run(
        ROUNDING
        + """
        for network, n_pixels, passes in ((SMALL, 61, 20), (ODD, 62, 7)):
            model = model_of(network, n_pixels=n_pixels)
            spectra = spectra_for(model, 7)
            spectra[2, 5], spectra[4, 0] = np.nan, np.inf
            arguments = dict(passes=passes, progress=False)
            cpu = inference.predict(model, spectra, seed=1, device=False, **arguments)
            device = inference.predict(model, spectra, seed=1, device=True, **arguments)
            for a, b in zip(cpu, device):
                assert np.isnan(b).nonzero()[0].tolist() == [2, 4]
                np.testing.assert_allclose(b, a, rtol=ROUNDING)  # the same masks: one wrong bit changes the third digit
            parts = dropout_jax.moments(fast_network(model), spectra, passes=passes, seed=1, batch_size=3)
            np.testing.assert_allclose(parts[0], device.fakemag, rtol=ROUNDING)
            np.testing.assert_allclose(np.sqrt(parts[1:]), device[1:3], rtol=ROUNDING)
        again = inference.predict(model, spectra, seed=1, device=True, **arguments)
        np.testing.assert_array_equal(np.array(device), np.array(again))
        other = inference.predict(model, spectra, seed=2, device=True, **arguments)
        assert not np.any(other.fakemag == device.fakemag)
    """
    )


def test_device_passes_have_the_distribution_of_the_keras_model(jax_process):
    jax_process.run(
        ROUNDING
        + """
        import jax

        model, passes = model_of(SMALL), 4000
        spectra = spectra_for(model, 3)
        device = inference.predict(model, spectra, passes=passes, seed=1, progress=False, device=True)
        # the plain reference, a hundred copies of each star at a time
        copies = np.repeat(spectra, 100, axis=0)
        network = model.get_layer("luminosity")
        trainable = [variable.value for variable in network.trainable_variables]
        seeds = [variable.value for variable in network.non_trainable_variables]
        call = jax.jit(lambda seeds: network.stateless_call(trainable, seeds, copies, training=True))
        draws = []
        for _ in range(passes // 100):
            draw, seeds = call(seeds)
            draws.append(draw)
        draws = np.array(draws, float).reshape(-1, 3, 100, 2).transpose(1, 0, 2, 3).reshape(3, -1, 2)
        spread, predictive = draws[..., 0].std(axis=1), np.sqrt(np.exp(draws[..., 1]).mean(axis=1))
        reference = Prediction(draws[..., 0].mean(axis=1), spread, predictive, None)
        assert_same_distribution(device, reference, passes)
    """
    )


def test_rounding_of_the_matrix_products_lies_far_below_the_model_error(jax_process):
    jax_process.run(
        ROUNDING
        + """
        import jax
        from jax import numpy as jnp

        def rounded(a):  # to the 10 bits of TensorFloat-32, which CPUs do not have
            bits = jax.lax.bitcast_convert_type(jnp.asarray(a, "float32"), "uint32")
            return jax.lax.bitcast_convert_type((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000), "float32")

        model = model_of(DR14, n_pixels=7514)
        network, spectra = fast_network(model), spectra_for(model, 4)
        arguments = dict(passes=20, seed=1)
        exact = dropout_jax.moments(network, spectra, precision="float32", **arguments)
        np.testing.assert_allclose(exact, network.moments(spectra, np.arange(4), **arguments), rtol=ROUNDING)
        bfloat16 = dropout_jax.moments(network, spectra, precision="bfloat16", **arguments)
        product = dropout_jax._product
        patch.setattr(
            dropout_jax, "_product", lambda a, b, dtype, precision: product(rounded(a), rounded(b), dtype, "float32")
        )
        tensorfloat32 = dropout_jax.moments(network, spectra, precision="float32", **arguments)
        for approximate, tolerance in ((tensorfloat32, 2e-3), (bfloat16, 2e-2)):
            assert not np.array_equal(approximate, exact)
            error = np.sqrt(exact[1])
            assert np.max(np.abs(approximate[0] - exact[0]) / error) < tolerance
            np.testing.assert_allclose(np.sqrt(approximate[1:]), np.sqrt(exact[1:]), rtol=tolerance)
    """
    )
