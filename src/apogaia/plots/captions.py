"""Captions of the figures: texts in captions.toml, with what the survey and the drawn figure add."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apogaia.survey import Survey


@cache
def captions() -> dict[str, str]:
    """Captions by the figure's name, each in one line, with fields in braces that `caption_of` fills in."""
    text = resources.files("apogaia.plots").joinpath("captions.toml").read_text(encoding="utf-8")
    return {name: " ".join(caption.split()) for name, caption in tomllib.loads(text).items()}


def caption_of(name: str, survey: Survey, figure: Figure, text: str | None = None) -> str:
    """The caption of a drawn figure, in one line.

    Parameters
    ----------
    name
        Of the figure, as in captions.toml.
    survey
        Fields such as ``{survey.cuts.snr_split}`` are filled in from it, and its name and kind are added.
    figure
        Points of it that `count_outside` found beyond the axes are mentioned.
    text
        Instead of the one in captions.toml.

    Raises
    ------
    ValueError
        If there is no caption of that name and no text is given.
    """
    if text is None:
        text = captions().get(name)
        if text is None:
            raise ValueError(
                f"the figure {name!r} has no caption: add one to plots/captions.toml, or give save(..., caption=...)"
            )
        text = text.format(survey=survey)
    sources = survey.sources
    kind = "real" if survey.simulation is None else "simulated"
    releases = f"APOGEE {sources.apogee_release.upper()} with Gaia {sources.gaia_release.upper()}"
    sentences = [text, outside_sentence(figure), f"Survey: {survey.name} ({kind}; {releases})."]
    if survey.is_test_run:
        sentences.append("Test run with few stars: it shows that the code runs, and is no result.")
    return " ".join(sentence for sentence in sentences if sentence)


def count_outside(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray | None = None,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> None:
    """Remember how many points (x, y), or values x of a histogram, are beyond the ranges, or the axes."""
    inside = np.isfinite(x)
    known = inside if y is None else inside & np.isfinite(y)
    for values, limits in ((x, x_range or axes.get_xlim()), (y, y_range or axes.get_ylim())):
        if values is not None:
            inside = inside & (values >= min(limits)) & (values <= max(limits))
    axes.set_gid(f"outside {int(np.sum(known & ~inside))} of {int(np.sum(known))}")


def outside_sentence(figure: Figure) -> str:
    """What `count_outside` has found in the figure's panels: "" if nothing is outside."""
    counts = [gid.split()[1::2] for gid in (axes.get_gid() for axes in figure.axes) if gid and gid[:8] == "outside "]
    if not any(int(outside) for outside, _ in counts):
        return ""
    found = [f"{int(outside):,} of {int(known):,}" for outside, known in counts]
    if len(found) == 1:
        return f"Points beyond the axes: {found[0]}."
    return f"Points beyond the axes, panel by panel: {', '.join(found)}."
