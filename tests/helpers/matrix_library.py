"""How many threads NumPy's matrix library has now."""

import threadpoolctl


def matrix_threads(*_):
    found = {library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}
    assert found
    return found
