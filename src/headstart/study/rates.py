"""What is asked of a case's recipe: its values, its learning rates in words, its epochs scaled."""

import math
from dataclasses import replace

from headstart.config import TrainConfig
from headstart.recipes import CURVES, Recipe, Schedule, read_recipe


def recipe_of(config: TrainConfig) -> Recipe:
    """The recipe of a configuration; of `auto` that of its longer part, lp-ft.

    Raises:
        ConfigError: there is no such recipe, or its schedule cannot be read.
    """
    return read_recipe(config, technique="lp-ft" if config.recipe == "auto" else None)


def rates_in_words(config: TrainConfig) -> str:
    """The learning rates with their epochs, `3e-4 x 7, 3e-5 x 7`; that there are none where a head is solved for."""
    recipe = recipe_of(config)
    rates = recipe.rates()
    if not rates.epochs:
        return "solved for, no epochs"
    cosine = ", cosine" if rates.cosine else ""
    warmup = f", warm-up {recipe.warmup:g}" if recipe.warmup else ""
    return ", ".join(f"{_short(rate)} x {epochs}" for rate, epochs in rates.rates) + cosine + warmup


def scale_epochs(config: TrainConfig, scale: float) -> TrainConfig:
    """The configuration with the epochs of each learning rate, and those of the warm-up, multiplied.

    Args:
        config: a run's configuration.
        scale: the factor. Each learning rate keeps at least one epoch; a head without epochs stays without.

    Returns:
        The configuration; itself where `scale` is 1 or there is nothing to scale.
    """
    recipe = recipe_of(config)
    rates = recipe.rates()
    if scale == 1 or not rates.epochs:
        return config
    steps = [(rate, max(1, math.floor(epochs * scale + 0.5))) for rate, epochs in rates.rates]
    warmup = recipe.warmup * scale if recipe.warmup else config.warmup
    if recipe.schedule in CURVES:
        return replace(config, epochs=steps[0][1], warmup=warmup)
    return replace(
        config, schedule=write_steps(Schedule(rates=steps, cosine=False, warmup=0.0)), warmup=warmup
    )


def write_steps(schedule: Schedule) -> str:
    """A list of learning rates as `--schedule` takes it."""
    return ", ".join(f"{_short(rate)}:{epochs}" for rate, epochs in schedule.rates)


def _short(rate: float) -> str:
    """A learning rate as people write it, exactly: 0.0003 is 3e-4."""
    mantissa, _, exponent = f"{rate:e}".partition("e")
    text = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return text if float(text) == rate else repr(rate)
