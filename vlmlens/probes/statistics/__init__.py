"""What makes a number believable: intervals, tests, corrections, effect sizes, sample sizes."""

from vlmlens.probes.statistics.clusters import cluster_test
from vlmlens.probes.statistics.effects import (
    cohens_d,
    design_effect,
    flip_odds,
    rank_biserial,
    samples_for_effect,
    samples_for_flips,
    samples_for_width,
)
from vlmlens.probes.statistics.intervals import LEVEL, bootstrap, mean_map, proportion_interval
from vlmlens.probes.statistics.maps import CORRECTIONS, TESTS, corrected, map_test
from vlmlens.probes.statistics.paired import Flips, exchange_p, flips, paired_p

__all__ = [
    "CORRECTIONS",
    "LEVEL",
    "TESTS",
    "Flips",
    "bootstrap",
    "cluster_test",
    "cohens_d",
    "corrected",
    "design_effect",
    "exchange_p",
    "flip_odds",
    "flips",
    "map_test",
    "mean_map",
    "paired_p",
    "proportion_interval",
    "rank_biserial",
    "samples_for_effect",
    "samples_for_flips",
    "samples_for_width",
]
