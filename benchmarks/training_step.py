"""A training step of the joint network, against the same network made of Keras' own layers.

Both go through `fit` with batches of 64 stars of 7514 pixels, in turns within one process. The reference model
gets whole arrays, as in Keras' manual; ours gets the batches that `apogaia.model.training.train` makes.
"""

from __future__ import annotations

import itertools

from benchmarks.measuring import Quantity, medians, seconds, sgemm_flops_per_second

QUANTITIES = (
    Quantity("apogaia_ms", "`fit` of apogaia's network", "ms per step", at_most=24),
    Quantity("plain_keras_ms", "`fit` of the same network in Keras' own layers", "ms per step"),
    Quantity("plain_over_apogaia", "plain Keras / apogaia", at_least=1.6),
    Quantity("gflop_per_step", "arithmetic of a step", "GFLOP"),
    Quantity("sgemm_gflops", "matrix product in the same run", "GFLOP/s"),
    Quantity("share_of_sgemm", "step at the speed of the matrix product / step of apogaia"),
)

BATCH = 64


def measure(quick: bool = False) -> dict:
    """Medians over runs of one epoch each; steps take the time of the epoch over their number."""
    import keras
    import numpy as np

    from apogaia.model import batches, fitting, likelihood, networks
    from apogaia.model.fast.adam import FusedAdam
    from apogaia.survey import load_survey

    pixels, steps, runs = (256, 3, 2) if quick else (7514, 60, 7)
    network = load_survey("dr14").network
    sample = random_sample(BATCH * steps, pixels)
    inputs, targets = sample.arrays("multivariate")
    rows = np.arange(len(sample))
    fitting.be_reproducible(1)
    scale, means, deviations = 0.5, (12.0, 1.3, 4800.0), (1.0, 0.3, 300.0)
    ours = networks.build_joint_network(
        network,
        "multivariate",
        mean_spectrum=sample.spectrum.mean(axis=0),
        parallax_scale=scale,
        offset_mean=means,
        offset_sd=deviations,
    )
    plain = plain_network(network, sample.spectrum.mean(axis=0), scale, means, deviations)
    for model, optimizer in ((ours, FusedAdam(1e-3)), (plain, keras.optimizers.Adam(1e-3))):
        model.compile(optimizer=optimizer, loss=likelihood.parallax_loss)

    (batches,) = batches.in_one_thread(batches.Batches(inputs, targets, rows, BATCH, shuffle_seed=1))

    def fit_ours() -> None:
        ours.fit(batches, shuffle=False, verbose=0)

    def fit_plain() -> None:
        plain.fit(inputs, targets, batch_size=BATCH, verbose=0)

    fit_ours(), fit_plain()  # compiles
    flops = BATCH * flops_per_star(network, pixels)
    results = []
    for _ in range(runs):
        a, b = seconds(fit_ours) / steps, seconds(fit_plain) / steps
        sgemm = sgemm_flops_per_second(256 if quick else 2048)
        results.append(
            {
                "apogaia_ms": 1e3 * a,
                "plain_keras_ms": 1e3 * b,
                "plain_over_apogaia": b / a,
                "gflop_per_step": flops / 1e9,
                "sgemm_gflops": sgemm / 1e9,
                "share_of_sgemm": flops / sgemm / a,
            }
        )
    return {"steps_per_run": steps} | medians(results)


def random_sample(n: int, pixels: int):
    """A training set of random numbers of realistic size."""
    import numpy as np

    from apogaia.model.training_set import TrainingSet

    rng = np.random.default_rng(0)
    spectrum = rng.standard_normal((n, pixels), np.float32)
    spectrum *= 0.1
    spectrum += 1
    parallax, error = rng.uniform(0.2, 2, n), rng.uniform(0.02, 0.1, n)
    colours = rng.normal(12, 1, n), rng.normal(1.3, 0.3, n), rng.normal(4800, 300, n)
    return TrainingSet(spectrum, rng.uniform(8, 12, n), parallax, error, *colours)


def plain_network(network, mean_spectrum, parallax_scale: float, offset_mean, offset_sd):
    """The joint network with a multivariate offset in Keras' own layers, normalisation by `Normalization`."""
    import keras
    import numpy as np

    from apogaia.model import networks

    layers = keras.layers

    def like_ours(**more) -> dict:
        initial = keras.initializers.RandomNormal(stddev=network.initial_weight_sd)
        return {"kernel_initializer": initial, "kernel_regularizer": keras.regularizers.L2(network.l2), **more}

    pixels = len(mean_spectrum)
    spectrum = keras.Input((pixels,), name="spectrum")
    k_mag = keras.Input((1,), name="k_mag")
    x = layers.Normalization(mean=np.asarray(mean_spectrum), variance=np.ones(pixels))(spectrum)
    x = layers.Reshape((pixels, 1))(x)
    for i, filters in enumerate(network.conv_filters):
        if i > 0:
            x = layers.Dropout(network.dropout)(x)
        x = layers.Conv1D(filters, network.conv_width, padding="same", **like_ours(activation="relu"))(x)
    x = layers.Flatten()(layers.MaxPooling1D(network.pool_width)(x))
    for units in network.hidden_units:
        x = layers.Dropout(network.dropout)(x)
        x = layers.Dense(units, **like_ours(activation="relu"))(x)
    scale = network.fakemag_scale * parallax_scale
    fakemag = layers.Rescaling(scale)(layers.Dense(1, "softplus")(x))
    log_variance = layers.Rescaling(1.0, 2 * float(np.log(scale)))(layers.Dense(1)(x))
    parallax = networks.FakemagToParallax()(layers.Concatenate()([fakemag, log_variance]), k_mag)
    columns = {name: keras.Input((1,), name=name) for name in networks.OFFSET_INPUTS}
    x = layers.Concatenate()(list(columns.values()))
    x = layers.Normalization(mean=offset_mean, variance=np.square(offset_sd))(x)
    for units in network.offset_hidden_units:
        x = layers.Dropout(network.dropout)(layers.Dense(units, **like_ours(activation="tanh"))(x))
    offset = layers.Rescaling(parallax_scale)(layers.Dense(1, "tanh")(x))
    inputs = {"spectrum": spectrum, "k_mag": k_mag} | columns
    return keras.Model(inputs, networks.ParallaxOffset()(parallax, offset))


def flops_per_star(network, pixels: int) -> float:
    """Multiplications and additions of a step: forward, and backward to all weights and to all but the spectrum."""
    widths = (1, *network.conv_filters)
    convolutions = [2.0 * pixels * network.conv_width * a * b for a, b in itertools.pairwise(widths)]
    units = (pixels // network.pool_width * network.conv_filters[-1], *network.hidden_units, 2)
    dense = [2.0 * a * b for a, b in itertools.pairwise(units)]
    return 3 * sum(convolutions + dense) - convolutions[0]
