"""The zero point by cross-fitting, the default of this repository beside the paper's recipe (docs/closure.md).

Networks are trained on part of the training set and say how luminous the rest is; the rest then calibrates luminosities
and zero point together (`apogaia.refit`), with the shift that the survey's density makes (`apogaia.density`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from apogaia import networks, refit, training
from apogaia.density import DensityModel
from apogaia.refit import Refit, SpectralFeatures, density_shift, log_fakemag_to_abs_mag, luminosity_spline
from apogaia.survey import Survey
from apogaia.training import TrainingSet

__all__ = ["CrossFit", "Features", "cross_fit", "cross_predict", "features_of", "first_guess", "spectral_features"]

SPLINE_COEFFICIENTS = 10  # of the correction by the network's own luminosity


@dataclass(frozen=True)
class CrossFit:
    """A refitted zero point [uas], its parts of error, and what it rests on."""

    zero_point: float
    error: float  # statistical and systematic in quadrature
    statistical_error: float  # from the stars' own residuals
    without_density: float  # the same fit if the spectrum told nothing about distance
    without_chemistry: float  # with one density for stars of all compositions
    fit: Refit
    density: DensityModel

    def in_uas(self) -> dict:
        """As written to the results."""
        return {
            "value_uas": self.zero_point,
            "error_uas": self.error,
            "statistical_error_uas": self.statistical_error,
            "without_density_uas": self.without_density,
            "without_chemistry_uas": self.without_chemistry,
            "contaminant_fraction": self.fit.contaminant_fraction,
            "median_scatter": float(np.median(self.fit.scatter)),
        }


@dataclass(frozen=True)
class Features:
    """What a refit of luminosities is linear in, and the penalty on each."""

    values: np.ndarray  # (n, features)
    ridge: np.ndarray  # (features,)


def usable(table: Table) -> np.ndarray:
    """Stars whose K0 is not biased by what is missing: without extinction K0 is too faint by as much as there is."""
    return np.isfinite(np.asarray(table["a_k_mag"], float)) & np.isfinite(np.asarray(table["k0_mag"], float))


def first_guess(survey: Survey, table: Table, spectral: np.ndarray) -> np.ndarray:
    """ln fakemag, (n,), linear in the spectral features: a start without any network, fitted to the stars themselves."""
    columns = [np.asarray(table[name], float) for name in ("parallax", "parallax_error", "k0_mag")]
    one = np.full(len(table), np.median(np.log(np.maximum(columns[0], 0.05)) + 0.2 * np.log(10.0) * columns[2]))
    features = np.column_stack([np.ones(len(table)), spectral])
    ridge = np.concatenate([[1e-3], np.full(spectral.shape[1], survey.refit.ridge)])
    return refit.fit(*columns, one, features, ridge=ridge, scatter_basis=np.ones((len(table), 1))).log_fakemag


def cross_predict(survey: Survey, sample: TrainingSet, zero_point: float, *, verbose: bool = True) -> np.ndarray:
    """ln fakemag of every star of the sample, (n,), by a network that was trained on other folds.

    The networks learn from parallaxes that are corrected for `zero_point` [uas]. A wrong one leaves its trace, since a
    spectrum does hint at distance (noise, dust, chemistry): about a seventh of its error comes back in the refit.
    """
    settings = survey.refit
    fold = np.random.default_rng([settings.seed, 0]).permutation(len(sample)) % settings.folds
    corrected = dataclasses.replace(sample, parallax=sample.parallax - 1e-3 * zero_point)
    log_fakemag = np.full(len(sample), np.nan)
    for k in range(settings.folds):
        learn, held_out = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if verbose:
            print(f"fold {k + 1} of {settings.folds}: {len(learn)} stars train, {len(held_out)} are predicted")
        model, _ = training.train(_survey_of_fold(survey, k), corrected.subset(learn), "none", verbose=verbose)
        log_fakemag[held_out] = predict_log_fakemag(model, sample.spectrum, held_out)
    return log_fakemag


def _survey_of_fold(survey: Survey, fold: int) -> Survey:
    settings = survey.refit
    return dataclasses.replace(
        survey,
        network=dataclasses.replace(survey.network, dropout=settings.dropout),
        training=dataclasses.replace(
            survey.training,
            seed=settings.seed + fold,
            epochs=settings.epochs,
            learning_rate_without_offset=settings.learning_rate,
            plateau_patience=settings.plateau_patience,
            contaminant_fraction=settings.contaminant_fraction,
            contaminant_width=settings.contaminant_width,
        ),
    )


def predict_log_fakemag(model, spectra: np.ndarray, rows: np.ndarray, batch_size: int = 1024) -> np.ndarray:
    """ln fakemag of some rows of spectra without dropout, (len(rows),)."""
    network = model.get_layer("luminosity")
    batches = (rows[start : start + batch_size] for start in range(0, len(rows), batch_size))
    fakemag = [np.asarray(networks.keras.ops.convert_to_numpy(network(spectra[batch]))[:, 0]) for batch in batches]
    return np.log(np.maximum(np.concatenate(fakemag).astype(float), 1e-6))


def spectral_features(survey: Survey, spectra: np.ndarray) -> np.ndarray:
    """(n, features) principal components of the spectra and products of the first ones, fewer for a small sample."""
    settings = survey.refit
    most = max(2, int(len(spectra) / settings.stars_per_feature))
    components = max(1, min(settings.components, most // 2))
    products = settings.products
    while products and products * (products + 1) // 2 > most - components:
        products -= 1
    made = SpectralFeatures.fit(spectra, components=components, products=products, seed=settings.seed)
    return made.of(spectra)


def features_of(survey: Survey, spectral: np.ndarray, log_fakemag: np.ndarray) -> Features:
    """What the luminosities' correction is linear in: a spline of the network's luminosity, and the spectra."""
    spline = (
        luminosity_spline(log_fakemag, SPLINE_COEFFICIENTS) if np.ptp(log_fakemag) > 0 else np.ones((len(spectral), 1))
    )
    ridge = np.concatenate([np.full(spline.shape[1], 1e-3), np.full(spectral.shape[1], survey.refit.ridge)])
    return Features(np.column_stack([spline, spectral]), ridge)


def cross_fit(survey: Survey, table: Table, log_fakemag: np.ndarray, features: Features) -> CrossFit:
    """The constant zero point of stars whose luminosities were cross-predicted.

    Parameters
    ----------
    table
        (n,) rows of stars.h5, all `usable`.
    log_fakemag
        (n,) of `cross_predict`.
    features
        Of `features_of`.
    """
    columns = {name: np.asarray(table[name], float) for name in ("parallax", "parallax_error", "k0_mag")}
    place = [np.asarray(table[name], float) for name in ("glon", "glat")]
    chemistry = chemistry_of(table)

    def fitted(slope=None) -> Refit:
        shift = None if slope is None else density_shift(plain.scatter, slope)
        return refit.fit(*columns.values(), log_fakemag, features.values, ridge=features.ridge, shift=shift)

    plain = fitted()
    abs_mag = log_fakemag_to_abs_mag(plain.log_fakemag)
    simple = DensityModel.fit(abs_mag, columns["k0_mag"], *place)
    density = DensityModel.fit(abs_mag, columns["k0_mag"], *place, *chemistry)
    one = fitted(simple.slope(abs_mag, columns["k0_mag"], *place))
    best = fitted(density.slope(abs_mag, columns["k0_mag"], *place, *chemistry))
    values = [float(fit.zero_point[0]) for fit in (best, plain, one)]
    statistical = float(best.error[0])
    systematic = survey.refit.systematic_share * abs(values[0] - values[1])
    return CrossFit(
        values[0], float(np.hypot(statistical, systematic)), statistical, values[1], values[2], best, density
    )


def chemistry_of(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """[Fe/H] and [Mg/Fe] of the stellar-parameter catalogue; NaN where unknown."""
    fe_h = np.asarray(table["fe_h"], float)
    return fe_h, np.asarray(table["mg_h"], float) - fe_h
