"""Figures: every function takes data and axes (made where none are given) and returns the axes.

Nothing is computed here beyond display binning; the numbers come from the package's other modules. `use_style` once
per notebook, `save` once per figure.
"""

from apogaia.plots.architecture import network_architecture
from apogaia.plots.closure import (
    coverage_panels,
    giant_scatter,
    offset_histories,
    pull_histograms,
    recovered_zero_points,
    reliability,
    seed_pulls,
)
from apogaia.plots.common import COLUMN_WIDTH, PAGE_WIDTH, binned_median_map, running_median, save, use_style
from apogaia.plots.comparisons import (
    distance_pair,
    distance_pairs,
    injected_and_found,
    offsets_by,
    pair_figure,
    published_zero_points,
)
from apogaia.plots.distances import (
    binned_scatter,
    coverage,
    distance_against_gaia,
    precision_kiel,
    snr_gain_map,
    truth_comparison,
    zero_point_consistency,
)
from apogaia.plots.maps import abundance_map, abundance_maps, compared_maps, face_on_map, orbits
from apogaia.plots.offset import (
    distance_comparison,
    fit_residuals,
    learning_curves,
    offset_dependence,
    offset_map,
    parallax_difference,
)
from apogaia.plots.parameters import (
    abundance_plane,
    label_coverage,
    label_recovery,
    occlusion,
    scatter_against_snr,
    training_size,
    visits,
)
from apogaia.plots.refit import density_shift
from apogaia.plots.samples import cut_flow, kiel_diagram, kiel_diagrams, sample_histograms, status_bars
from apogaia.plots.spectra import jacobian, spectrum_example
from apogaia.plots.windows import mark_windows

__all__ = [
    "COLUMN_WIDTH",
    "PAGE_WIDTH",
    "abundance_map",
    "abundance_maps",
    "abundance_plane",
    "binned_median_map",
    "binned_scatter",
    "compared_maps",
    "coverage",
    "coverage_panels",
    "cut_flow",
    "density_shift",
    "distance_against_gaia",
    "distance_comparison",
    "distance_pair",
    "distance_pairs",
    "face_on_map",
    "fit_residuals",
    "giant_scatter",
    "injected_and_found",
    "jacobian",
    "kiel_diagram",
    "kiel_diagrams",
    "label_coverage",
    "label_recovery",
    "learning_curves",
    "mark_windows",
    "network_architecture",
    "occlusion",
    "offset_dependence",
    "offset_histories",
    "offset_map",
    "offsets_by",
    "orbits",
    "pair_figure",
    "parallax_difference",
    "precision_kiel",
    "published_zero_points",
    "pull_histograms",
    "recovered_zero_points",
    "reliability",
    "running_median",
    "sample_histograms",
    "save",
    "scatter_against_snr",
    "seed_pulls",
    "snr_gain_map",
    "spectrum_example",
    "status_bars",
    "training_size",
    "truth_comparison",
    "use_style",
    "visits",
    "zero_point_consistency",
]
