"""Figures, and one self-contained page that tells what a run has found. Data in, bytes and text out."""

from headstart.report.card import render_card
from headstart.report.comparison import Column, ComparisonRecord, ReferencePanel
from headstart.report.comparison_page import render_comparison
from headstart.report.curves import name_plot
from headstart.report.embedding import MOST_TSNE
from headstart.report.learning import render_learning_curve
from headstart.report.page import RenderedReport, render_report
from headstart.report.photos import (
    MOST_PHOTOS,
    PredictedPhoto,
    draw_prediction,
    draw_predictions,
    draw_thumbnail,
)
from headstart.report.record import PHASES, Explained, Learning, RunRecord

__all__ = [
    "MOST_PHOTOS",
    "MOST_TSNE",
    "PHASES",
    "Column",
    "ComparisonRecord",
    "Explained",
    "Learning",
    "PredictedPhoto",
    "ReferencePanel",
    "RenderedReport",
    "RunRecord",
    "draw_prediction",
    "draw_predictions",
    "draw_thumbnail",
    "name_plot",
    "render_card",
    "render_comparison",
    "render_learning_curve",
    "render_report",
]
