"""Summary of the zero point: quadratics in G, BP-RP and Teff, as the paper's Eqs. 7-9."""

from __future__ import annotations

import numpy as np
from astropy import units as u

from apogaia.arguments.plain import Columns, any_unit
from apogaia.arguments.takes import takes
from apogaia.physics.literature import PAPER_SUMMARIES, QuadraticSummary

__all__ = ["quadratic_summary", "summaries"]


@takes(x=any_unit, zero_point_uas=u.uas, x0="x")
def quadratic_summary(x, zero_point_uas, x0: float = 0.0) -> tuple[float, float, float]:
    """Least-squares quadratic in ``x - x0``, as Eqs. 7-9.

    Parameters
    ----------
    x
        G [mag], BP-RP [mag] or Teff [K] of each star; the paper takes x0 = 16, 0 and 4500.
    zero_point_uas
        Zero point of each star [uas]. Stars where either is unknown are left out.

    Returns
    -------
    a2, a1, a0
        ``a2 (x - x0)^2 + a1 (x - x0) + a0``.

    Raises
    ------
    ValueError
        If fewer than three different values of x are known.
    """
    x, zero_point_uas = np.asarray(x, dtype=float), np.asarray(zero_point_uas, dtype=float)
    known = np.isfinite(x) & np.isfinite(zero_point_uas)
    if len(np.unique(x[known])) < 3:
        raise ValueError("a quadratic needs at least three different values of x")
    # Polynomial.fit maps x to [-1, 1] first: squares of Teff are ill-conditioned otherwise
    a0, a1, a2 = np.polynomial.Polynomial.fit(x[known] - x0, zero_point_uas[known], 2).convert().coef
    return float(a2), float(a1), float(a0)


@takes(inputs=Columns(g_mag=u.mag, bp_rp=u.mag, teff=u.K), zero_point_uas=u.uas)
def summaries(inputs, zero_point_uas) -> dict[str, QuadraticSummary]:
    """Our own counterparts of Eqs. 7-9: a quadratic in each of G, BP-RP and Teff.

    Parameters
    ----------
    inputs
        Table or mapping with ``g_mag``, ``bp_rp`` [mag] and ``teff`` [K]; each (n,).
    zero_point_uas
        Zero point of each star [uas].

    Returns
    -------
    dict
        Summaries by the names of the inputs, about the paper's x0, valid between the 1st and 99th percentile.
    """
    made = {}
    for name in ("g_mag", "bp_rp", "teff"):
        paper, x = PAPER_SUMMARIES[name], np.asarray(inputs[name], dtype=float)
        known = np.isfinite(x) & np.isfinite(zero_point_uas)
        low, high = np.percentile(x[known], [1, 99])
        coefficients = quadratic_summary(x, zero_point_uas, paper.x0)
        made[name] = QuadraticSummary(paper.label, paper.x0, coefficients, (float(low), float(high)), "this work")
    return made
