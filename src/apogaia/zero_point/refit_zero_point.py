"""The zero point from a refit of the spectra (docs/closure.md); the catalogue uses it by default.

In the paper's recipe luminosity and zero point are trained together. They converge slowly, and the network learns what
a spectrum hints about distance. Here luminosities that are linear in a few hundred features of the spectra are fitted
with the zero point until the fit converges (`apogaia.refit.least_squares`), corrected for the shift that the survey's
density causes (`apogaia.refit.stellar_density`). A network is then trained on parallaxes corrected for that zero point
(`apogaia.zero_point.calibrated_training`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from astropy import units as u
from astropy.table import Table

from apogaia.arguments.takes import takes
from apogaia.formats.stars_h5_columns import OFFSET_INPUTS, star_columns
from apogaia.physics.luminosity import has_extinction
from apogaia.reduction import quality_cuts
from apogaia.refit import least_squares
from apogaia.refit.label_features import label_features
from apogaia.refit.least_squares import (
    Refit,
    density_shift,
    log_fakemag_to_abs_mag,
    luminosity_spline,
    scatter_coefficients,
)
from apogaia.refit.spectral_features import SpectralFeatures
from apogaia.refit.stellar_density import DensityModel
from apogaia.survey import CalibrationSettings, Survey
from apogaia.zero_point.dependence import (
    SMALL_CELL_DEG,
    TEFF,
    Dependence,
    G,
    ZeroPointPlane,
    log_evidence,
    sky_cells,
)

__all__ = [
    "Calibration",
    "FixedZeroPoint",
    "calibrate",
    "calibrating_rows",
    "density_shift_by_distance",
    "error_budget_uas",
    "has_corrected_k0",
    "residuals_by",
    "shared_error_uas",
    "spectral_features",
    "star_error_mas",
    "usable",
]

SPLINE_COEFFICIENTS = 10  # at most, of the correction by the luminosity of the iteration before
STARS_PER_SPLINE_COEFFICIENT = 100  # fewer coefficients in small samples, but at least four: one cubic
WEAK_RIDGE = 1e-3  # penalty on the constant and the spline, against singular matrices: without effect on the fit
MIN_PARALLAX_MAS = 0.05  # smaller and negative ones count as this in the first guess of the luminosity
SNR_PRIOR = 0.05  # of ln fakemag, for what the noise of a spectrum does to its luminosity, per sd of the next
RESIDUAL_BINS, MIN_STARS_PER_BIN = 8, 20
BEND_LOG_EVIDENCE = 3.0  # the zero point bends if the parallaxes are twenty times as probable then
LARGEST_NOISE, NOISE_UNIT_SNR = 4.0, 100.0  # noise: the variance of a spectrum in units of one of this SNR


@dataclass(frozen=True)
class FixedZeroPoint:
    """A zero point given in the survey file: nothing is fitted."""

    zero_point_uas: float  # Gaia minus true parallax
    error_uas: float

    def in_uas(self) -> dict:
        """As written to the results."""
        return {"value_uas": self.zero_point_uas, "error_uas": self.error_uas, "fixed": True, "plane": None}


@dataclass(frozen=True)
class Calibration:
    """A mean zero point with the parts of its error, its plane, and the fit that they come from."""

    zero_point_uas: float  # Gaia minus true parallax, mean over the stars
    error_uas: float  # statistical and systematic in quadrature
    statistical_error_uas: float  # from the stars' own residuals, and what the priors hold
    without_density_uas: float  # the same fit if the spectrum said nothing about distance
    without_chemistry_uas: float  # with one density for stars of all compositions
    g_slope_uas_per_mag: float  # NaN where G is missing for most stars
    g_slope_error_uas_per_mag: float
    teff_slope_uas_per_1000_k: float  # NaN where Teff is missing for most stars
    teff_slope_error_uas_per_1000_k: float
    bends: bool  # whether it bends in G and BP-RP: the parallaxes ask for it
    bends_log_evidence: float  # ln of how much more probable they are with bends; NaN where G is missing for most stars
    without_bends_uas: float  # mean of the fit with slopes alone
    density_share: float  # of the density's correction that the parallaxes want; 1 is the prior's mean
    density_share_error: float
    drift_per_mag: float  # of ln fakemag at given spectrum, per mag of distance modulus, beyond the density's
    drift_error_per_mag: float
    plane: ZeroPointPlane | None  # None where G, BP-RP or Teff are missing for most stars
    error_budget_uas: dict[str, float]  # of `error_budget_uas`
    spectral_features: int  # in which the luminosities are linear
    label_features: int  # likewise
    residuals: dict[str, list[dict]]  # of `residuals_by`
    density_shift: list[dict]  # of `density_shift_by_distance`
    fit: Refit
    density: DensityModel

    def in_uas(self) -> dict:
        """As written to the results."""
        plane = self.plane and {
            "mean": self.plane.mean,
            "sd": self.plane.sd,
            "weights_uas": self.plane.weights_uas,
            "covariance_uas2": self.plane.covariance_uas2,
            "centre": self.plane.centre,
        }
        return {
            "value_uas": self.zero_point_uas,
            "error_uas": self.error_uas,
            "fixed": False,
            "statistical_error_uas": self.statistical_error_uas,
            "without_density_uas": self.without_density_uas,
            "without_chemistry_uas": self.without_chemistry_uas,
            "g_slope_uas_per_mag": self.g_slope_uas_per_mag,
            "g_slope_error_uas_per_mag": self.g_slope_error_uas_per_mag,
            "teff_slope_uas_per_1000_k": self.teff_slope_uas_per_1000_k,
            "teff_slope_error_uas_per_1000_k": self.teff_slope_error_uas_per_1000_k,
            "bends": self.bends,
            "bends_log_evidence": self.bends_log_evidence,
            "without_bends_uas": self.without_bends_uas,
            "density_share": self.density_share,
            "density_share_error": self.density_share_error,
            "drift_per_mag": self.drift_per_mag,
            "drift_error_per_mag": self.drift_error_per_mag,
            "contaminant_fraction": self.fit.contaminant_fraction,
            "median_scatter": float(np.median(self.fit.scatter)),
            "stars": len(self.fit.scatter),
            "error_budget_uas": self.error_budget_uas,
            "spectral_features": self.spectral_features,
            "label_features": self.label_features,
            "residuals": self.residuals,
            "density_shift": self.density_shift,
            "plane": plane,
        }


@takes(table=star_columns())
def usable(survey: Survey, table: Table) -> np.ndarray:
    """Stars of a stars.h5 table usable to calibrate the zero point: K0 is corrected, and they are not towards the bar.

    Stars of the bar have other ages at a given spectrum than the rest, and the density model is axisymmetric. Stars
    without Galactic coordinates have no place in it.
    """
    glon, glat = (np.asarray(table[name], float) for name in ("glon", "glat"))
    away = np.minimum(glon % 360, -glon % 360) >= survey.calibration.min_abs_glon
    return away & np.isfinite(glat) & has_corrected_k0(table)


@takes(table=star_columns())
def calibrating_rows(survey: Survey, table: Table) -> np.ndarray:
    """Rows of stars.h5 that fit the zero point, ascending: `usable` ones of the training and of the test set."""
    selected = quality_cuts.select(table, survey)
    both = np.sort(np.concatenate([selected.training, selected.test]))
    return both[usable(survey, table[both])]


def shared_error_uas(survey: Survey) -> float:
    """Standard deviation [uas] of the parallax errors shared by neighbours, within small and large cells."""
    return float(np.hypot(survey.calibration.sky_prior, survey.calibration.sky_prior))


@takes(error_uas=u.uas)
def star_error_mas(survey: Survey, error_uas: float) -> float:
    """Standard deviation [mas] of a single star's zero point, from the mean's [uas] and errors shared by neighbours."""
    return 1e-3 * float(np.hypot(error_uas, shared_error_uas(survey)))


@takes(table=star_columns())
def has_corrected_k0(table: Table) -> np.ndarray:
    """Stars with a Ks magnitude that is corrected for a known extinction; without one, K0 would be too faint."""
    return has_extinction(np.asarray(table["a_k_mag"], float)) & np.isfinite(np.asarray(table["k0_mag"], float))


@takes(table=star_columns(), spectra=u.dimensionless_unscaled)
def calibrate(survey: Survey, table: Table, spectra: np.ndarray, *, robust: bool = True) -> Calibration:
    """Fit the zero point.

    Parameters
    ----------
    survey
        Its section [calibration] is used.
    table
        (n,) rows of stars.h5, all `usable`.
    spectra
        (n, pixels) normalised spectra of the same stars.
    robust
        Whether there may be contaminants; False for comparison only.

    Returns
    -------
    Calibration
        Zero points and errors in uas; Gaia minus true parallax.

    Raises
    ------
    ValueError
        If a parallax or K0 is not finite, or a fit does not converge.

    Notes
    -----
    Not in the paper; docs/closure.md has the method and what it recovers. The zero point has slopes in G and Teff, and
    its mean over the stars is told: a constant fitted to stars whose zero point depends on these is not their mean. If
    the parallaxes are twenty times as probable with bends in G and BP-RP, all is fitted again with them.
    """
    settings = survey.calibration
    spectral = spectral_features(survey, spectra)
    labels = _labels(survey, table)
    features = np.column_stack([spectral, labels])
    stars = _Stars.of(survey, table, spectral, robust=robust)
    straight = fitted = _Fitted.of(stars, settings, features, table)
    evidence = straight.plain.log_evidence_of_bends(straight.shift)
    bends = evidence > BEND_LOG_EVIDENCE
    if bends:
        fitted = _Fitted.of(stars.bent(settings), settings, features, table)
    best, plain, stars = fitted.best, fitted.plain, fitted.plain.stars
    value, without_density = best.mean_uas, plain.fit.mean_uas
    statistical = best.mean_error_uas
    of_density = settings.systematic_share * (value - without_density)
    of_bends = settings.systematic_share * (value - straight.best.mean_uas)
    slope, slope_error = stars.offset.slope(best, G)
    teff_slope, teff_slope_error = stars.offset.slope(best, TEFF)
    return Calibration(
        zero_point_uas=value,
        error_uas=float(np.sqrt(statistical**2 + of_density**2 + of_bends**2)),
        statistical_error_uas=statistical,
        without_density_uas=without_density,
        without_chemistry_uas=fitted.simple.mean_uas,
        g_slope_uas_per_mag=slope,
        g_slope_error_uas_per_mag=slope_error,
        teff_slope_uas_per_1000_k=1000.0 * teff_slope,
        teff_slope_error_uas_per_1000_k=1000.0 * teff_slope_error,
        bends=bends,
        bends_log_evidence=evidence,
        without_bends_uas=straight.best.mean_uas,
        density_share=1.0 + float(best.weights[-1]),
        density_share_error=float(best.weight_errors[-1]),
        drift_per_mag=float(best.weights[-2]),
        drift_error_per_mag=float(best.weight_errors[-2]),
        plane=plain.plane(fitted.shift, best),
        error_budget_uas=error_budget_uas(best, stars.terms, of_density, of_bends),
        spectral_features=spectral.shape[1],
        label_features=labels.shape[1],
        residuals=residuals_by(stars.quantities(table), best),
        density_shift=density_shift_by_distance(stars.k0_mag, plain.log_fakemag, fitted.shift, best),
        fit=best,
        density=fitted.density,
    )


def error_budget_uas(fit: Refit, terms: int, density: float, bends: float = 0.0) -> dict[str, float]:
    """The parts of the error [uas] of the mean zero point, which add in quadrature.

    Parameters
    ----------
    fit
        With the drift and the share of the density's correction as its last two features.
    terms
        Number of columns of its offset basis before those of the sky: one, slopes and bends.
    density, bends
        What is added to the error for the density's correction, and for the bends [uas].

    Returns
    -------
    dict
        "residuals" (Gaia's errors and the scatter of the luminosities, which more stars lower), what the fit's priors
        hold ("luminosities", "drift", "density_share", "slopes" in G and Teff and bends), "neighbours" (errors that
        stars of one part of the sky share), "density", "bends" and the "total".
    """
    variance, features = fit.mean_variance_uas2, len(fit.weights)
    slopes, cells = np.split(variance.held[features:], [terms])
    parts = {
        "residuals": variance.residuals,
        "luminosities": variance.held[: features - 2].sum(),
        "drift": variance.held[features - 2],
        "density_share": variance.held[features - 1],
        "slopes": slopes.sum(),
        "neighbours": variance.groups + cells.sum(),
        "density": density**2,
        "bends": bends**2,
    }
    return {name: float(np.sqrt(part)) for name, part in (parts | {"total": sum(parts.values())}).items()}


def density_shift_by_distance(k0_mag, log_fakemag, shift, fit: Refit) -> list[dict]:
    """How far the density of stars shifts their parallaxes, in bins of distance with equal numbers of stars.

    Parameters
    ----------
    k0_mag
        (n,) Ks without extinction.
    log_fakemag
        (n,) ln fakemag that the spectra tell.
    shift
        (n,) of `density_shift`, in ln fakemag.
    fit
        Theirs.

    Returns
    -------
    list
        Of bins: "low", "high" and "middle" distance [kpc], "stars", "shift_percent" (of the true parallax, median;
        below zero the stars are farther and more luminous than their spectrum alone says) and "scatter_percent" (of the
        luminosities' scatter, median).
    """
    distance = np.exp(0.2 * np.log(10.0) * np.asarray(k0_mag) - log_fakemag)  # kpc, of a parallax in mas
    bins = []
    for rows in np.array_split(np.argsort(distance, kind="stable"), RESIDUAL_BINS):
        here = distance[rows]
        bins.append(
            {
                "low": float(here.min()),
                "high": float(here.max()),
                "middle": float(np.median(here)),
                "stars": len(rows),
                "shift_percent": float(100.0 * np.median(shift[rows])),
                "scatter_percent": float(100.0 * np.median(fit.scatter[rows])),
            }
        )
    return bins


def residuals_by(quantities: Mapping[str, np.ndarray], fit: Refit) -> dict[str, list[dict]]:
    """Mean residual of the parallaxes in bins of equal numbers of stars: they show where the fit's assumptions fail.

    Parameters
    ----------
    quantities
        By name, each (n,) of the stars that were fitted; NaN where unknown.
    fit
        Theirs.

    Returns
    -------
    dict
        By name a list of bins: "low", "high" and "middle" of the quantity, "stars", "mean_uas" weighted as in the fit,
        "error_uas". A quantity that few stars have is left out. A fit takes a little of each residual: errors are
        upper limits.
    """
    found = {}
    for name, values in quantities.items():
        known = np.flatnonzero(np.isfinite(values))
        if len(known) >= RESIDUAL_BINS * MIN_STARS_PER_BIN:
            ordered = known[np.argsort(values[known], kind="stable")]
            found[name] = [_residual(values[rows], fit, rows) for rows in np.array_split(ordered, RESIDUAL_BINS)]
    return found


def _residual(values: np.ndarray, fit: Refit, rows: np.ndarray) -> dict:
    weight = fit.residual_error_uas[rows] ** -2.0
    return {
        "low": float(values.min()),
        "high": float(values.max()),
        "middle": float(np.median(values)),
        "stars": len(rows),
        "mean_uas": float(np.average(fit.residual_uas[rows], weights=weight)),
        "error_uas": float(weight.sum() ** -0.5),
    }


@takes(spectra=u.dimensionless_unscaled)
def spectral_features(survey: Survey, spectra: np.ndarray) -> np.ndarray:
    """Features (n, features) of spectra (n, pixels): components and products, fewer of them in a small sample."""
    settings = survey.calibration
    most = _most_features(survey, len(spectra))
    components = max(1, min(settings.components, most // 2))
    products = settings.products
    while products and products * (products + 1) // 2 > most - components:
        products -= 1
    return SpectralFeatures.fit(spectra, components=components, products=products, seed=settings.seed).of(spectra)


def _most_features(survey: Survey, n_stars: int) -> int:
    """How many features of their spectra so many stars can bear; those of the labels are at most half as many more."""
    return max(2, int(n_stars / survey.calibration.stars_per_feature))


def _labels(survey: Survey, table: Table) -> np.ndarray:
    """Features (n, k) of the labels; none where one of the four labels is missing for all stars."""
    unknown = np.full(len(table), np.nan)
    teff, log_g, fe_h, mg_h = (
        np.asarray(table[name], float) if name in table.colnames else unknown
        for name in ("teff", "logg", "fe_h", "mg_h")
    )
    return label_features(teff, log_g, fe_h, mg_h - fe_h, _most_features(survey, len(table)) // 2)


@dataclass(frozen=True)
class _Stars:
    """What a fit needs to know of the stars but for their features; arrays of n."""

    parallax: np.ndarray
    error: np.ndarray
    k0_mag: np.ndarray
    noise: np.ndarray  # variance of the spectrum's noise, standardised
    offset: Dependence
    terms: int  # columns of the offset basis before those of the sky
    options: dict

    @classmethod
    def of(cls, survey: Survey, table: Table, spectral: np.ndarray, *, robust: bool) -> _Stars:
        settings = survey.calibration
        parallax, error, k0_mag = (np.asarray(table[name], float) for name in ("parallax", "parallax_error", "k0_mag"))
        offset = Dependence.of(table, k0_mag, spectral)
        with np.errstate(divide="ignore"):
            noise = (np.asarray(table["snr"], float) / NOISE_UNIT_SNR) ** -2.0
        noise = np.minimum(np.nan_to_num(noise, nan=LARGEST_NOISE), LARGEST_NOISE)
        options = {
            "robust": robust,
            "contaminant_width": settings.contaminant_width,
            "groups": sky_cells(table, SMALL_CELL_DEG),
            "group_prior_uas": settings.sky_prior,
        } | offset.options(settings)
        return cls(
            parallax, error, k0_mag, (noise - noise.mean()) / (noise.std() or 1.0), offset, len(offset.columns), options
        )

    def bent(self, settings: CalibrationSettings) -> _Stars:
        """The same with a zero point that bends in G and BP-RP."""
        options = self.options | self.offset.options(settings, bends=True)
        return replace(self, terms=len(self.offset.columns) + self.offset.bends.shape[1], options=options)

    def quantities(self, table: Table) -> dict[str, np.ndarray]:
        """What residuals are looked at by: G, BP-RP and Teff as K0 and the spectrum tell them, K0, log g and SNR."""
        told = self.offset.mean + self.offset.sd * (self.offset.basis[:, 1:] + self.offset.centre)
        found = {name: told[:, i] for i, name in enumerate(OFFSET_INPUTS) if self.offset.enough[i]}
        found["k0_mag"] = self.k0_mag
        return found | {name: np.asarray(table[name], float) for name in ("logg", "snr") if name in table.colnames}

    def fit(self, start: np.ndarray, features: np.ndarray, ridge: np.ndarray, **options) -> Refit:
        return least_squares.fit(
            self.parallax, self.error, self.k0_mag, start, features, ridge=ridge, **self.options, **options
        )


@dataclass(frozen=True)
class _Plain:
    """The fit that has converged, without a density."""

    stars: _Stars
    fit: Refit
    start: np.ndarray  # ln fakemag of the iteration before
    features: np.ndarray  # the drift last
    ridge: np.ndarray
    scatter_basis: np.ndarray
    settings: CalibrationSettings

    @property
    def log_fakemag(self) -> np.ndarray:
        """ln fakemag (n,) that the spectrum tells, without the drift."""
        return self.start + self.features[:, :-1] @ self.fit.weights[:-1]

    def shifted(self, shift: np.ndarray) -> Refit:
        """The same fit with a density's shift, of which the parallaxes may want more or less."""
        return self._again(self.stars, shift, self.fit.zero_point_uas)

    def plane(self, shift: np.ndarray, best: Refit) -> ZeroPointPlane | None:
        """The fit with BP-RP besides, held near the mean and the slopes of `best` by their errors; bends stay."""
        offset, none = self.stars.offset, self.settings.plane_prior
        if not offset.enough.all():
            return None
        (g, g_error), (teff, teff_error) = (offset.of_fit(best, column) for column in (G, TEFF))
        known, prior = (
            np.array([best.mean_uas, g, 0.0, teff]),
            np.array([best.mean_error_uas, g_error, none, teff_error]),
        )
        bends = slice(len(offset.columns), self.stars.terms)
        bent_uas = self.stars.options["offset_basis"][:, bends] @ best.zero_point_uas[bends]
        held = replace(
            self.stars,
            parallax=self.stars.parallax - 1e-3 * (offset.basis @ known + bent_uas),
            options=self.stars.options | offset.with_cells(offset.basis, prior, self.settings),
        )
        cells = self.fit.zero_point_uas[self.stars.terms :]
        fit = self._again(held, shift, np.concatenate([np.zeros(4), cells]))
        return ZeroPointPlane(
            offset.mean, offset.sd, known + fit.zero_point_uas[:4], fit.covariance_uas2[:4, :4], offset.centre
        )

    def log_evidence_of_bends(self, shift: np.ndarray) -> float:
        """Of `dependence.log_evidence`, for the bends of the zero point; NaN without any to fit."""
        bent, straight = self.stars.bent(self.settings), self.stars.terms
        if bent.terms == straight:
            return float("nan")
        begin = np.insert(self.fit.zero_point_uas, straight, np.zeros(bent.terms - straight))
        fit, bends = self._again(bent, shift, begin), slice(straight, bent.terms)
        prior = bent.options["offset_prior_uas"][bends]
        return log_evidence(fit.zero_point_uas[bends], fit.covariance_uas2[bends, bends], prior)

    def _again(self, stars: _Stars, shift: np.ndarray, zero_point_uas: np.ndarray) -> Refit:
        """Fit the same features and the density's share, from where this fit has ended."""
        begin = replace(self.fit, weights=np.append(self.fit.weights, 0.0), zero_point_uas=zero_point_uas)
        features, ridge = self._with(shift)
        return stars.fit(self.start, features, ridge, shift=shift, scatter_basis=self.scatter_basis, begin=begin)

    def _with(self, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features = np.column_stack([self.features, shift - shift.mean()])
        return features, np.append(self.ridge, self.settings.density_prior**-2.0)


@dataclass(frozen=True)
class _Fitted:
    """A fit that has converged, with the density of its stars and what that shifts."""

    plain: _Plain
    density: DensityModel
    shift: np.ndarray  # (n,) of ln fakemag
    simple: Refit  # with one density for stars of all compositions
    best: Refit

    @classmethod
    def of(cls, stars: _Stars, settings: CalibrationSettings, features: np.ndarray, table: Table) -> _Fitted:
        """Fit the luminosities, then the density to them, then the zero point again with its shift."""
        plain = _converged(stars, settings, features)
        abs_mag = log_fakemag_to_abs_mag(plain.log_fakemag)
        glon, glat = (np.asarray(table[name], float) for name in ("glon", "glat"))
        place = (stars.k0_mag, glon, glat)
        fe_h = np.asarray(table["fe_h"], float)
        chemistry = (fe_h, np.asarray(table["mg_h"], float) - fe_h)

        def shift(model: DensityModel, *composition) -> np.ndarray:
            return density_shift(plain.fit.scatter, model.slope(abs_mag, *place, *composition))

        simple = plain.shifted(shift(DensityModel.fit(abs_mag, *place)))
        model = DensityModel.fit(abs_mag, *place, *chemistry)
        of_stars = shift(model, *chemistry)
        return cls(plain, model, of_stars, simple, plain.shifted(of_stars))


def _converged(stars: _Stars, settings: CalibrationSettings, spectral: np.ndarray) -> _Plain:
    """Fit luminosities without a density, each iteration bending those of the one before, which no feature can do.

    Luminosities of noisy spectra are drawn towards the mean, so the bend depends on the noise. They may also drift with
    distance at given spectrum: populations, labels or magnitudes make them, and they would pass for a zero point.
    """
    n = len(stars.parallax)
    # the first fit starts from one luminosity for all stars
    guess = np.log(np.maximum(stars.parallax, MIN_PARALLAX_MAS)) + 0.2 * np.log(10.0) * stars.k0_mag
    one, rows = np.ones((n, 1)), np.full(n, np.median(guess))
    of_spectra = np.full(spectral.shape[1], settings.ridge)
    first = stars.fit(rows, np.column_stack([one, spectral]), np.append(WEAK_RIDGE, of_spectra), scatter_basis=one)
    log_fakemag = first.log_fakemag
    coefficients = int(np.clip(n // STARS_PER_SPLINE_COEFFICIENT, 4, SPLINE_COEFFICIENTS))
    bend = np.full(coefficients, WEAK_RIDGE)
    ridge = np.concatenate([bend, of_spectra, np.full(coefficients, SNR_PRIOR**-2.0), [settings.drift_prior**-2.0]])
    begin = None
    for _ in range(settings.iterations):
        spline = luminosity_spline(log_fakemag, coefficients)
        modulus = stars.k0_mag - log_fakemag_to_abs_mag(log_fakemag)
        features = np.column_stack([spline, spectral, spline * stars.noise[:, None], modulus - modulus.mean()])
        scatter = np.column_stack([luminosity_spline(log_fakemag, scatter_coefficients(n)), stars.noise])
        fit = stars.fit(log_fakemag, features, ridge, scatter_basis=scatter, begin=begin)
        # what the spectrum tells is part of the next start, the drift is not
        begin = replace(fit, weights=np.append(np.zeros(len(ridge) - 1), fit.weights[-1]))
        plain = _Plain(stars, fit, log_fakemag, features, ridge, scatter, settings)
        log_fakemag = plain.log_fakemag
    return plain
