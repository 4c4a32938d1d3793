"""Scripts that need another Keras backend than the tests' own, in processes that import it once.

One process has one Keras backend. A script gets `patch`, a pytest.MonkeyPatch that is undone when the script ends, and
the names of `TOOLS`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import traceback

TOOLS = """
import contextlib, dataclasses
import keras, numpy as np
from apogaia.model import inference, model_file, training
from apogaia.model.jacobian import jacobian
from apogaia.model.offset_draws import offset_draws
from apogaia.model.error_calibration import Prediction
from apogaia.model.fast import devices, dropout_jax, training_jax
from apogaia.model.fast.dropout_cpu import FastDropout
from small_networks import DR14, ODD, SMALL, assert_same_distribution, model_of, spectra_for
from small_networks import small_survey, synthetic_stars

def fast_network(model):
    return FastDropout.from_model(model.get_layer("luminosity"))

@contextlib.contextmanager
def double_precision():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")  # floatx alone does not reach a process that has built a model before
    if keras.backend.backend() == "jax":
        import jax
        jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
        if keras.backend.backend() == "jax":
            jax.config.update("jax_enable_x64", False)
"""


class Interpreter:
    """A process with this Keras backend and no accelerator, which runs scripts one after the other.

    Parameters
    ----------
    backend
        "jax", "tensorflow", "torch" or "numpy".
    """

    def __init__(self, backend: str):
        environment = {
            "KERAS_BACKEND": backend,
            "JAX_PLATFORMS": "cpu",
            "CUDA_VISIBLE_DEVICES": "",
            # compiling takes longer than these small networks do; flags of the caller come last and win
            "XLA_FLAGS": f"--xla_backend_optimization_level=0 {os.environ.get('XLA_FLAGS', '')}",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        self.process = subprocess.Popen(
            [sys.executable, __file__], env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def run(self, script: str) -> None:
        """Run a script; what it raises fails the test, with its traceback."""
        self.process.stdin.write(json.dumps(textwrap.dedent(script)).encode() + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the process ended with {self.process.wait(10)}"
        failure = json.loads(answer)
        assert not failure, failure[-4000:]

    def close(self) -> None:
        self.process.stdin.close()  # the end of its scripts
        self.process.wait(60)


def _serve() -> None:
    """Read scripts, one line of JSON each, and answer with a traceback, or "" if the script raised nothing."""
    import pytest

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a script prints is no answer
    tools: dict = {}
    exec(TOOLS, tools)
    for line in sys.stdin:
        failure = ""
        with pytest.MonkeyPatch.context() as patch:
            try:
                exec(compile(json.loads(line), "script", "exec"), {**tools, "patch": patch})
            except BaseException:
                failure = traceback.format_exc()
        print(json.dumps(failure), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
