"""What notebook 05 found: to which elements' lines the luminosity is sensitive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from apogaia.findings.sentences import found, listed
from apogaia.survey import Survey

__all__ = ["jacobian"]


def jacobian(survey: Survey, sensitivity: Mapping[str, Mapping[str, float]], strongest: Sequence[Mapping]) -> str:
    """Markdown sentences on the Jacobian.

    Parameters
    ----------
    survey
        The survey.
    sensitivity
        Per group of stars and element: mean absolute derivative in the element's windows over that of all pixels.
    strongest
        Windows as `apogaia.model.jacobian.strongest_windows` gives them.
    """
    said = []
    for group, of in sensitivity.items():
        ordered = sorted(of, key=lambda element: -of[element])
        first, last = ordered[:2], ordered[-1]
        most = listed(f"{element} ({of[element]:.1f} times)" for element in first)
        said.append(f"of the {group} stars {most}, and least {last} ({of[last]:.1f} times)")
    named = [
        f"{one['element']} at {one['wavelength'] / 10:.1f} nm ({100 * one['share']:.1f} %)" for one in strongest[:3]
    ]
    return found(
        survey,
        f"Elements whose windows are the most sensitive, per pixel and beside the average pixel: {'; '.join(said)}.",
        f"The windows that hold most of the sensitivity are those of {listed(named)}." if named else "",
    )
