"""A training step where TensorFlow keeps its memory from step to step, against one where it gives it back.

Processes of their own, in turns, train the joint network for an epoch after one that compiles it.
`apogaia.environment.keep_memory_of_tensorflow` chooses the first.
"""

from __future__ import annotations

import json
import resource
import sys

from benchmarks.measuring import Quantity, in_new_process, medians, peak_mib, seconds

BATCH = 64

QUANTITIES = (
    Quantity("kept_ms", "memory is kept", "ms per step"),
    Quantity("given_back_ms", "memory is given back", "ms per step"),
    Quantity("given_back_over_kept", "given back / kept", at_least=1.0),
    Quantity("kept_system_share", "share of the processor time that the system takes, kept"),
    Quantity("given_back_system_share", "the same, given back"),
    Quantity("kept_peak_mib", "peak memory, kept", "MiB"),
    Quantity("given_back_peak_mib", "peak memory, given back", "MiB"),
)


def measure(quick: bool = False) -> dict:
    pixels, steps, runs = (256, 20, 1) if quick else (7514, 60, 5)
    results = []
    for _ in range(runs):
        one = {}
        for name, keep in (("kept", "true"), ("given_back", "false")):
            told = {"TF_CPU_ALLOCATOR_USE_BFC": keep, "KERAS_BACKEND": "tensorflow"}
            found = in_new_process("kept_memory", pixels, steps, environment=told)
            one |= {f"{name}_{key}": value for key, value in found.items()}
        results.append(one | {"given_back_over_kept": one["given_back_ms"] / one["kept_ms"]})
    return {"steps_per_run": steps} | medians(results)


def train(pixels: int, steps: int) -> dict:
    """One epoch of so many steps: time of a step, the system's share of the processor time, peak memory."""
    import numpy as np

    from apogaia.model import batches, fitting, likelihood, networks
    from apogaia.model.fast.adam import FusedAdam
    from apogaia.survey import load_survey
    from benchmarks.training_step import random_sample

    sample = random_sample(BATCH * steps, pixels)
    inputs, targets = sample.arrays("constant")
    fitting.be_reproducible(1)
    mean = sample.spectrum.mean(axis=0)
    model = networks.build_joint_network(
        load_survey("dr14").network, "constant", mean_spectrum=mean, parallax_scale=0.5
    )
    model.compile(optimizer=FusedAdam(1e-3), loss=likelihood.parallax_loss)
    rows = np.arange(len(sample))
    (batched,) = batches.in_one_thread(batches.Batches(inputs, targets, rows, BATCH, shuffle_seed=1))

    def fit() -> None:
        model.fit(batched, shuffle=False, verbose=0)

    fit()  # compiles
    before = resource.getrusage(resource.RUSAGE_SELF)
    took = seconds(fit)
    after = resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return {"ms": 1e3 * took / steps, "system_share": system / (user + system), "peak_mib": peak_mib()}


if __name__ == "__main__":
    print(json.dumps(train(*map(int, sys.argv[1:]))))
