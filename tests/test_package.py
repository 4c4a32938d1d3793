"""What `import apogaia` gives: the names that most people import, without loading what they do not ask for."""

import subprocess
import sys

import pytest

import apogaia


def test_every_name_is_there_and_knows_its_home():
    for name in apogaia.__all__:
        assert getattr(apogaia, name) is not None
    assert apogaia.fakemag_to_pc(10.0, 10.0) == pytest.approx(10_000.0)
    with pytest.raises(AttributeError, match="no_such_name"):
        apogaia.no_such_name  # noqa: B018


def test_names_without_a_network_do_not_load_keras():
    names = sorted(set(apogaia.__all__) - {"TrainedModel"})
    script = f"import sys; from apogaia import {', '.join(names)}; print('keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
