"""Networks in PyTorch's dictionaries, as SDSS's Astra has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from apogaia.model.model_origin import ModelFileError
from apogaia.parameters.network import CENSORED_ELEMENTS, STAR_LABELS
from apogaia.published.folder_parameters import CENSORED, DISTANCES
from apogaia.published.network_parts import Dense, PublishedNetwork, finite
from apogaia.published.torch_file import read_torch_file

__all__ = ["read_torch_network"]

POOL_WIDTH, DROPOUT = 4, 0.3  # not in the files: they are in the code that reads them


def read_torch_network(path: Path) -> PublishedNetwork:
    """Read a network by the names of its tensors.

    Raises
    ------
    ModelFileError
        If the file is damaged, names other things than tensors, or lacks a tensor of the network.
    """
    state = _State(path, read_torch_file(path))
    censored = "dense_aux_fullspec.weight" in state.arrays
    weights = {
        "conv_1": state.dense("conv1"),
        "conv_2": state.dense("conv2"),
        "hidden_1": state.dense("dense_1"),
        "hidden_2": state.dense("dense_2"),
    }
    windows = None
    mean_spectrum = state.array("input_mean")
    label_sd = state.array("labels_std")
    if censored:
        windows = state.windows(mean_spectrum.size)
        weights |= _censored(state)
        label_mean = state.array("labels_mean")
    else:
        weights |= {"scaled_fakemag": state.dense("dense_output"), "scaled_log_variance": state.dense("dense_var")}
        label_mean = np.zeros(1)
    n_labels = len(CENSORED_ELEMENTS) + len(STAR_LABELS) if censored else 1
    for name, values in (("labels_mean", label_mean), ("labels_std", label_sd)):
        if values.shape != (n_labels,):
            raise ModelFileError(f"{path}: {name} has the shape {values.shape}, not ({n_labels},): get the file again")
    if np.any(label_sd <= 0):
        raise ModelFileError(f"{path}: labels_std must be above zero everywhere: get the file again")
    return PublishedNetwork(
        source=path,
        files=(path,),
        architecture=CENSORED if censored else DISTANCES,
        layout="PyTorch's dictionary of parameters",
        survey="dr17",
        weights=weights,
        mean_spectrum=mean_spectrum,
        pixel_sd=1.0,
        label_mean=label_mean,
        label_sd=label_sd,
        pool_width=POOL_WIDTH,
        dropout=DROPOUT,
        windows=windows,
    )


class _State:
    """Arrays of a file by name, each checked."""

    def __init__(self, path: Path, arrays: dict[str, np.ndarray]):
        self.path, self.arrays = path, arrays

    def array(self, name: str, n_axes: int = 1) -> np.ndarray:
        """Finite numbers with so many axes."""
        if name not in self.arrays:
            raise ModelFileError(f"{self.path}: no tensor {name!r}: is it the network of an Astra pipeline?")
        values = finite(self.arrays[name], name, self.path)
        if values.ndim != n_axes or not values.size:
            raise ModelFileError(
                f"{self.path}: {name} has the shape {values.shape}, not {n_axes} axes: get the file again"
            )
        return values

    def dense(self, name: str) -> Dense:
        """Weights of a layer, with the axes as Keras has them: inputs first, units last."""
        kernel = self.array(f"{name}.weight", 3 if name.startswith("conv") else 2)
        return Dense(kernel.T, self.array(f"{name}.bias"))

    def windows(self, n_pixels: int) -> dict[str, np.ndarray]:
        """Pixels of each element."""
        masks = {}
        for i, element in enumerate(CENSORED_ELEMENTS):
            mask = self.array(f"aspcap_masks.{i}") != 0
            if mask.shape != (n_pixels,) or not mask.any():
                raise ModelFileError(f"{self.path}: aspcap_masks.{i} ({element}) marks no pixels of {n_pixels}")
            masks[element] = mask
        return masks


def _censored(state: _State) -> dict[str, Dense]:
    weights = {"auxiliary": state.dense("dense_aux_fullspec")}
    for name, end in (("dense_teffloggfeh", ""), ("dense_teffloggfeh_var", "_log_variance")):
        kernel, bias = state.dense(name)
        if bias.shape != (len(STAR_LABELS),) or kernel.shape[1] != len(STAR_LABELS):
            raise ModelFileError(
                f"{state.path}: {name} has {kernel.shape[1]} units, not {len(STAR_LABELS)}: get it again"
            )
        for i, label in enumerate(STAR_LABELS):
            weights[f"standardised_{label}{end}"] = Dense(kernel[:, i : i + 1], bias[i : i + 1])
    for i, element in enumerate(CENSORED_ELEMENTS):
        ours = element.lower()
        weights[f"{ours}_hidden_1"] = state.dense(f"elem_dense1.{i}")
        weights[f"{ours}_hidden_2"] = state.dense(f"elem_dense2.{i}")
        weights[f"standardised_{ours}_h"] = state.dense(f"elem_dense_out.{i}")
        weights[f"standardised_{ours}_h_log_variance"] = state.dense(f"elem_dense_var.{i}")
    return weights
