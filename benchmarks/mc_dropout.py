"""Monte-Carlo dropout, 100 passes a spectrum, against calling the Keras model once per pass.

Both run on all cores in turns within one process. The limit is the time of the dense layer after the convolutions alone
(7512 values to 164 units in every pass), at the speed of a matrix product: no convolution, no masks.
"""

from __future__ import annotations

from benchmarks.measuring import Quantity, medians, seconds, sgemm_flops_per_second

QUANTITIES = (
    Quantity("spectra_per_second", "`inference.predict`", "spectra/s", at_least=125),
    Quantity("loop_spectra_per_second", "one call of the Keras model per pass", "spectra/s"),
    Quantity("predict_over_loop", "`predict` / loop", at_least=2.5),
    Quantity("dense_mflop_per_spectrum", "widest dense layer", "MFLOP per spectrum"),
    Quantity("sgemm_gflops", "matrix product in the same run", "GFLOP/s"),
    Quantity("limit_spectra_per_second", "that layer alone at the speed of the matrix product", "spectra/s"),
    Quantity("share_of_limit", "`predict` / limit"),
)


def measure(quick: bool = False) -> dict:
    from apogaia.model import inference

    pixels, spectra, passes, runs = (256, 8, 4, 2) if quick else (7514, 256, 100, 7)
    model, normalised = untrained_model(pixels), random_spectra(spectra, pixels)
    few = normalised[: max(4, spectra // 4)]
    network = model.get_layer("luminosity").get_layer("hidden_1").kernel.shape
    flops = 2.0 * network[0] * network[1] * passes

    def predict() -> None:
        inference.predict(model, normalised, passes=passes, seed=1, progress=False)

    def loop(passes: int = passes) -> None:
        inference.predict_reference(model, few, passes=passes, seed=1)

    predict(), loop(2)  # compiles
    results = []
    for _ in range(runs):
        ours, reference = len(normalised) / seconds(predict), len(few) / seconds(loop)
        sgemm = sgemm_flops_per_second(256 if quick else 2048)
        results.append(
            {
                "spectra_per_second": ours,
                "loop_spectra_per_second": reference,
                "predict_over_loop": ours / reference,
                "dense_mflop_per_spectrum": flops / 1e6,
                "sgemm_gflops": sgemm / 1e9,
                "limit_spectra_per_second": sgemm / flops,
                "share_of_limit": ours / (sgemm / flops),
            }
        )
    return {"spectra": spectra, "passes": passes} | medians(results)


def untrained_model(pixels: int = 7514):
    """A joint network of the paper's size; the time of a pass does not depend on the weights."""
    import keras
    import numpy as np

    from apogaia.model import networks
    from apogaia.survey import load_survey

    keras.utils.set_random_seed(1)
    mean_spectrum = np.ones(pixels, "float32")
    network = load_survey("dr14").network
    return networks.build_joint_network(network, "none", mean_spectrum=mean_spectrum, parallax_scale=0.5)


def random_spectra(n: int, pixels: int = 7514, seed: int = 0):
    """(n, pixels) float32 about 1."""
    import numpy as np

    spectra = np.random.default_rng(seed).standard_normal((n, pixels), np.float32)
    spectra *= 0.1
    spectra += 1
    return spectra
