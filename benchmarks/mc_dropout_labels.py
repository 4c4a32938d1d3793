"""Monte-Carlo dropout of the censored network, 100 passes a spectrum, against calling the Keras model once per pass.

At the size of SDSS's pipeline (hidden layers of 192 and 96 units), with the elements' layers of DR14. Both run on all
cores in turns within one process. A call of the Keras model costs the calls of its 177 layers as well, so the loop is
timed at its default of 64 spectra a call and at 512, over 20 of the passes. The limit is the dense layer behind the
convolutions alone (7512 values to 192 units in every pass), at the speed of a matrix product: no convolution, no masks,
no elements.
"""

from __future__ import annotations

from benchmarks.mc_dropout import random_spectra
from benchmarks.measuring import Quantity, medians, seconds, sgemm_flops_per_second

QUANTITIES = (
    Quantity("spectra_per_second", "`predict_labels`", "spectra/s"),
    Quantity("loop_spectra_per_second", "one call of the Keras model per pass, 64 spectra a call", "spectra/s"),
    Quantity("predict_over_loop", "`predict_labels` / loop", at_least=5),
    Quantity("large_loop_spectra_per_second", "the loop with 512 spectra a call", "spectra/s"),
    Quantity("predict_over_large_loop", "`predict_labels` / that loop"),
    Quantity("dense_mflop_per_spectrum", "widest dense layer", "MFLOP per spectrum"),
    Quantity("sgemm_gflops", "matrix product in the same run", "GFLOP/s"),
    Quantity("limit_spectra_per_second", "that layer alone at the speed of the matrix product", "spectra/s"),
    Quantity("share_of_limit", "`predict_labels` / limit"),
)


def measure(quick: bool = False) -> dict:
    from apogaia.parameters import inference

    passes, loop_passes, runs = (2, 1, 2) if quick else (100, 20, 5)
    small, large = (2, 4) if quick else (64, 512)
    model, normalised = untrained_model(), random_spectra(large)
    ours = normalised[: large // 2]
    network = model.get_layer("hidden_1").kernel.shape
    flops = 2.0 * network[0] * network[1] * passes

    def predict() -> None:
        inference.predict_labels(model, ours, passes=passes, seed=1, progress=False)

    def loop(size: int) -> None:
        given = normalised[:size]
        inference.predict_labels_reference(model, given, passes=loop_passes, seed=1, batch_size=size)

    def loop_rate(size: int) -> float:
        return size * loop_passes / passes / seconds(lambda: loop(size))

    predict(), loop(small)  # compiles
    results = []
    for _ in range(runs):
        rate, reference, large_reference = len(ours) / seconds(predict), loop_rate(small), loop_rate(large)
        sgemm = sgemm_flops_per_second(256 if quick else 2048)
        results.append(
            {
                "spectra_per_second": rate,
                "loop_spectra_per_second": reference,
                "predict_over_loop": rate / reference,
                "large_loop_spectra_per_second": large_reference,
                "predict_over_large_loop": rate / large_reference,
                "dense_mflop_per_spectrum": flops / 1e6,
                "sgemm_gflops": sgemm / 1e9,
                "limit_spectra_per_second": sgemm / flops,
                "share_of_limit": rate / (sgemm / flops),
            }
        )
    return {"spectra": len(ours), "passes": passes} | medians(results)


def untrained_model():
    """A censored network of this size; the time of a pass does not depend on the weights."""
    import dataclasses

    import keras
    import numpy as np

    from apogaia.formats.stars_h5_columns import LABELS
    from apogaia.parameters.network import build_censored_network
    from apogaia.survey import load_survey

    keras.utils.set_random_seed(1)
    survey = load_survey("dr14")
    return build_censored_network(
        survey.network,
        dataclasses.replace(survey.parameters, hidden_units=(192, 96)),
        mean_spectrum=np.ones(7514),
        label_mean=np.zeros(len(LABELS)),
        label_sd=np.ones(len(LABELS)),
    )
