"""Is the data sound? Copies, leaks, doubtful labels, inseparable classes. Features and pixels in, findings out."""

from headstart.audit.alignment import SIDE, Agreement, compare_pictures
from headstart.audit.audit import Audit, Judged, Leaks, PatternAdvice, leaking_copies, leaking_groups
from headstart.audit.classes import ConfusedClasses, find_confused_classes
from headstart.audit.duplicates import (
    Duplicates,
    candidate_pairs,
    find_duplicates,
    join_pairs,
    links_of_groups,
)
from headstart.audit.findings import (
    COLUMNS,
    KINDS,
    Finding,
    Kind,
    list_classes,
    list_duplicates,
    list_labels,
    list_outliers,
)
from headstart.audit.labels import LabelIssues, can_be_judged, find_label_issues, load_cleanlab
from headstart.audit.neighbours import Neighbours, find_neighbours
from headstart.audit.outliers import Outliers, find_outliers
from headstart.audit.patterns import SuggestedPattern, suggest_pattern

__all__ = [
    "COLUMNS",
    "KINDS",
    "SIDE",
    "Agreement",
    "Audit",
    "ConfusedClasses",
    "Duplicates",
    "Finding",
    "Judged",
    "Kind",
    "LabelIssues",
    "Leaks",
    "Neighbours",
    "Outliers",
    "PatternAdvice",
    "SuggestedPattern",
    "can_be_judged",
    "candidate_pairs",
    "compare_pictures",
    "find_confused_classes",
    "find_duplicates",
    "find_label_issues",
    "find_neighbours",
    "find_outliers",
    "join_pairs",
    "leaking_copies",
    "leaking_groups",
    "links_of_groups",
    "list_classes",
    "list_duplicates",
    "list_labels",
    "list_outliers",
    "load_cleanlab",
    "suggest_pattern",
]
