"""Faster ways to the same numbers: MC dropout on the CPU (numba), on an accelerator (JAX), compiled epochs."""
