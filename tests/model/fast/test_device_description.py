"""What `devices` says about backend and device, on the CPU and on made-up GPUs; one process per Keras backend."""

import os
import subprocess
import sys
import textwrap

import pytest

TOOLS = """
    import io, contextlib, logging, os
    import keras
    from apogaia.model.fast import devices

    cores = len(os.sched_getaffinity(0))
    cpu = f"CPU, {cores} cores" if cores > 1 else "CPU, 1 core"

    def printed(*arguments):
        with contextlib.redirect_stderr(io.StringIO()) as stream:
            devices.log_once(*arguments)
        return stream.getvalue()
"""


def run(script: str, backend: str) -> None:
    pytest.importorskip(backend)
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    code = textwrap.dedent(TOOLS) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]


def test_jax_is_described_and_its_line_printed_once():
    run(
        """
        import jax
        from types import SimpleNamespace

        assert devices.describe() == f"Keras {keras.__version__} on jax, {cpu}"
        assert devices.describe("numba") == f"numba, {cpu}"
        assert printed("training") == f"training: {devices.describe()}\\n"
        assert printed("training") == ""
        assert printed("MC dropout", "numba") == f"MC dropout: numba, {cpu}\\n"

        jax.default_backend = lambda: "gpu"
        jax.devices = lambda: [SimpleNamespace(device_kind="NVIDIA H100 80GB HBM3")] * 2
        assert devices.uses_device()
        assert devices.describe() == f"Keras {keras.__version__} on jax, NVIDIA H100 80GB HBM3"  # Keras takes the first
        assert devices.describe("numba") == f"numba, {cpu}"
        assert "H100" in printed("training")  # another device than before

        # where logging is set up, the line is a record and nothing is printed
        records = []
        handler = logging.Handler()
        handler.emit = records.append
        logging.getLogger("apogaia").addHandler(handler)
        logging.getLogger("apogaia").setLevel(logging.INFO)
        assert printed("inference") == "" and printed("inference") == ""
        assert [record.getMessage() for record in records] == [f"inference: {devices.describe()}"]
        assert records[0].levelname == "INFO" and records[0].name == "apogaia.model.fast.devices"
        """,
        "jax",
    )


def test_tensorflow_is_described_with_all_its_gpus():
    run(
        """
        import tensorflow as tf

        assert devices.describe() == f"Keras {keras.__version__} on tensorflow, {cpu}"
        tf.config.list_logical_devices = lambda kind: []
        tf.config.list_physical_devices = lambda kind: [kind]  # there, but hidden from TensorFlow
        assert devices.describe().endswith(cpu)
        names = ["NVIDIA A100", "NVIDIA A100", "NVIDIA T4"]
        tf.config.list_logical_devices = lambda kind: [tf.config.LogicalDevice(f"{kind}:{i}", kind) for i in range(3)]
        tf.config.list_physical_devices = lambda kind: names
        tf.config.experimental.get_device_details = lambda gpu: {"device_name": gpu}
        assert devices.describe() == f"Keras {keras.__version__} on tensorflow, 2 x NVIDIA A100 and NVIDIA T4"
        tf.config.experimental.get_device_details = lambda gpu: {}
        assert devices.describe() == f"Keras {keras.__version__} on tensorflow, 3 x GPU"
        assert not devices.uses_device()
        """,
        "tensorflow",
    )
