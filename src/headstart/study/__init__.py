"""Studies: data sets x backbones x cases x seeds as data, with the figures of others that stand beside them.

What runs them, `headstart.study.compare`, loads networks and stands by itself: a plan is read without them.
"""

from headstart.study.adhoc import make_study
from headstart.study.plan import Plan, PlannedRun, StudyOptions, plan_study, same_groups
from headstart.study.ranking import LeftOut, RankedBackbone, Ranking, rank_backbones
from headstart.study.rates import rates_in_words
from headstart.study.reading import load_study, parse_study, shipped_studies
from headstart.study.study import (
    CLASSIFIER,
    Case,
    Figures,
    Reference,
    ReferenceProtocol,
    Study,
    StudyData,
)

__all__ = [
    "CLASSIFIER",
    "Case",
    "Figures",
    "LeftOut",
    "Plan",
    "PlannedRun",
    "RankedBackbone",
    "Ranking",
    "Reference",
    "ReferenceProtocol",
    "Study",
    "StudyData",
    "StudyOptions",
    "load_study",
    "make_study",
    "parse_study",
    "plan_study",
    "rank_backbones",
    "rates_in_words",
    "same_groups",
    "shipped_studies",
]
