"""The network's architecture, drawn from the layers of a Keras model (paper Figure 1)."""

from __future__ import annotations

from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from apogaia.plots.common import PAGE_WIDTH, one_panel

INPUT, LAYER, RESULT = "#E8EEF4", "#FFFFFF", "#FCEBD9"  # fills of what goes in, of layers, of what comes out
BOX_WIDTH, BOX_HEIGHT, GAP = 1.12, 1.0, 0.2  # in units of the axes
INPUT_NAMES = {"g_mag": "$G$", "bp_rp": r"$G_\mathrm{BP}-G_\mathrm{RP}$", "teff": r"$T_\mathrm{eff}$", "ones": "ones"}
Box = tuple[str, str]  # text and fill


def network_architecture(model: Any, axes: Axes | None = None) -> Axes:
    """Draw a joint network: what its two networks are made of, and how they meet (paper Figure 1).

    Sizes, activations and dropout are those of the model's own layers.

    Parameters
    ----------
    model
        Keras model of `apogaia.model.networks.build_joint_network`.
    axes
        One panel, or None.
    """
    axes = one_panel(axes, PAGE_WIDTH, 3.6)
    luminosity = model.get_layer("luminosity")
    pixels = luminosity.inputs[0].shape[1]
    layers, dropout = _layers(luminosity)
    top = [
        (f"spectrum\n{pixels} pixels", INPUT),
        *layers,
        (f"{dropout}$L$ (softplus)\nand $\\ln\\,\\sigma_L^2$", RESULT),
    ]
    offset = next((layer for layer in model.layers if layer.name == "offset"), None)
    right = _row(axes, top, 3.0, "spectro-luminosity network")
    below = {"ha": "center", "va": "center", "size": rcParams["xtick.labelsize"]}
    parallax = r"parallax (Eq. 1)" + "\n" + r"$\hat\varpi = L\,10^{-K_{s,0}/5}$"
    _box(axes, right, 1.5, parallax, LAYER, 1.75)
    _arrow(axes, (right, 3.0 - BOX_HEIGHT / 2), (right, 1.5 + BOX_HEIGHT / 2))
    _box(axes, right - 2.6, 1.5, "$K_s$ without\nextinction", INPUT, 1.3)
    _arrow(axes, (right - 1.95, 1.5), (right - 0.875, 1.5))
    predicted = "Gaia's parallax (Eq. 2)\n" + r"$\hat\varpi^G = \hat\varpi$"
    if offset is not None:
        inputs = "\n".join(text for name, text in INPUT_NAMES.items() if name in {one.name for one in offset.inputs})
        layers, dropout = _layers(offset)
        result = f"{dropout}zero point\n" + r"$\hat\varpi_\mathrm{offset}$ (tanh)"
        bottom = [(inputs, INPUT), *layers, (result, RESULT)]
        end = _row(axes, bottom, 0.0, "offset calibration network")
        _arrow(axes, (end + BOX_WIDTH / 2, 0.0), (right - 0.875, 0.0))
        axes.text(0.5 * (end + BOX_WIDTH / 2 + right - 0.875), 0.18, "+", size="large", ha="center", va="center")
        predicted += r" $+\ \hat\varpi_\mathrm{offset}$"
    _box(axes, right, 0.0, predicted, RESULT, 1.75)
    _arrow(axes, (right, 1.5 - BOX_HEIGHT / 2), (right, BOX_HEIGHT / 2))
    axes.text(right, -0.72, "trained on Gaia's parallaxes (Eqs. 3–5)", **below)
    axes.set(xlim=(-0.65, right + 1.0), ylim=(-0.9, 4.0))
    axes.set_axis_off()
    return axes


def _layers(network: Any) -> tuple[list[Box], str]:
    """Boxes of the layers that compute something, and the dropout before the last; dropout is said behind it."""
    boxes: list[Box] = []
    dropout = ""
    for layer in network.layers:
        kind, settings = type(layer).__name__, layer.get_config()
        activation = settings.get("activation", "")
        if "Dropout" in kind:
            dropout = f"dropout {100 * settings['rate']:.0f} %\n"
        elif kind in ("MeanSubtraction", "Standardisation"):
            boxes.append(("mean\nsubtracted" if kind == "MeanSubtraction" else "scaled", LAYER))
        elif "Conv1D" in kind:
            width = settings["kernel_size"][0]
            boxes.append((f"{dropout}convolution\n{settings['filters']} filters\n{width} pixels each\nReLU", LAYER))
            dropout = ""
            if settings.get("pool_width", 1) > 1:
                boxes.append((f"max-pooling\nby {settings['pool_width']}", LAYER))
        elif kind == "MaxPooling1D":
            boxes.append((f"max-pooling\nby {settings['pool_size'][0]}", LAYER))
        elif kind == "Dense" and not layer.name.startswith("scaled_"):
            name = {"relu": "ReLU"}.get(activation, activation)
            boxes.append((f"{dropout}dense\n{settings['units']} units\n{name}", LAYER))
            dropout = ""
    return boxes, dropout


def _row(axes: Axes, boxes: list[Box], y: float, title: str) -> float:
    """Boxes from left to right with arrows between them; returns x of the last."""
    step = BOX_WIDTH + GAP
    for index, (text, fill) in enumerate(boxes):
        _box(axes, index * step, y, text, fill, BOX_WIDTH)
        if index:
            _arrow(axes, (index * step - BOX_WIDTH / 2 - GAP, y), (index * step - BOX_WIDTH / 2, y))
    axes.text(-BOX_WIDTH / 2, y + BOX_HEIGHT / 2 + 0.12, title, ha="left", va="bottom", weight="bold")
    return (len(boxes) - 1) * step


def _box(axes: Axes, x: float, y: float, text: str, fill: str, width: float) -> None:
    corner = (x - width / 2, y - BOX_HEIGHT / 2)
    style = "round,pad=0,rounding_size=0.06"
    axes.add_patch(FancyBboxPatch(corner, width, BOX_HEIGHT, style, facecolor=fill, edgecolor="#555555", linewidth=0.8))
    axes.text(x, y, text, ha="center", va="center", size=0.88 * rcParams["xtick.labelsize"])


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": "#333333", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style)
