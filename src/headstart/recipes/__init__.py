"""Recipes: how a head, or a network with it, is trained, as data."""

from headstart.recipes.recipe import (
    RECIPES,
    Augment,
    Head,
    Recipe,
    Technique,
    expand_recipe,
    load_recipe,
    read_recipe,
)
from headstart.recipes.schedule import CURVES, Schedule, parse_schedule

__all__ = [
    "CURVES",
    "RECIPES",
    "Augment",
    "Head",
    "Recipe",
    "Schedule",
    "Technique",
    "expand_recipe",
    "load_recipe",
    "parse_schedule",
    "read_recipe",
]
