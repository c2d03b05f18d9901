"""Figures, and one self-contained page that tells what a run has found. Data in, bytes and text out."""

from headstart.report.comparison import Column, ComparisonRecord, ReferencePanel
from headstart.report.curves import name_plot
from headstart.report.page import RenderedReport, render_report
from headstart.report.photos import (
    MOST_PHOTOS,
    PredictedPhoto,
    draw_prediction,
    draw_predictions,
    draw_thumbnail,
)
from headstart.report.record import PHASES, RunRecord

__all__ = [
    "MOST_PHOTOS",
    "PHASES",
    "Column",
    "ComparisonRecord",
    "PredictedPhoto",
    "ReferencePanel",
    "RenderedReport",
    "RunRecord",
    "draw_prediction",
    "draw_predictions",
    "draw_thumbnail",
    "name_plot",
    "render_report",
]
