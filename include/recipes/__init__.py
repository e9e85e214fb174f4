"""Ladders and tiers as data: YAML files beside this module, validated when they are read.

An error names the file, the place and the conflict: ``recipes/ladders.yaml: h264: rung 3: crf 0 must be above 0``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from include.base.errors import ConfigurationError
from include.base.faults import faults
from include.domain.cost.prior import PriorPredictor
from include.domain.cost.rates import CostRates
from include.domain.order.valuation import Policy
from include.domain.plan.presets import Presets
from include.domain.recipe.codecs import CODECS, Codec, Encoder
from include.domain.recipe.rungs import Ladder, Rung
from include.domain.recipe.tiers import TierPolicy
from include.domain.title.title import Tier

FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """Everything that planning and valuation read from this folder."""

    ladders: dict[str, Ladder]
    """By codec."""
    tiers: dict[Tier, TierPolicy]
    rates: CostRates
    policy: Policy
    presets: Presets

    @cached_property
    def prior(self) -> PriorPredictor:
        """Predicts by the rates, without what this farm has shown."""
        return PriorPredictor(rates=self.rates)


@cache
def load_recipes() -> Recipes:
    """All of them, read once per process: a deploy starts new ones."""
    return Recipes(
        ladders=load_ladders(),
        tiers=load_tiers(),
        rates=load_cost_rates(),
        policy=load_policy(),
        presets=load_presets(),
    )


def load_ladders(folder: Path = FOLDER) -> dict[str, Ladder]:
    """The ladder of each codec from ``ladders.yaml``."""
    where = "recipes/ladders.yaml"
    data = _read(folder / "ladders.yaml", where)
    ladders = {}
    for codec, raw in data.items():
        here = f"{where}: {codec}"
        known = _codec(codec, where)
        if not isinstance(raw, dict) or not isinstance(raw.get("rungs"), list) or not raw["rungs"]:
            raise ConfigurationError(f"{here}: a ladder is a mapping with a list of rungs, lowest first")
        rungs = [_rung(entry, f"{here}: rung {number}") for number, entry in enumerate(raw["rungs"], start=1)]
        _ordered(rungs, here)
        with _explained(here):
            ladders[codec] = Ladder.model_validate({**raw, "codec": codec, "rungs": tuple(rungs)})
        _known_preset(ladders[codec].preset, known.software, f"{here}: preset")
    return ladders


def load_tiers(folder: Path = FOLDER) -> dict[Tier, TierPolicy]:
    """The policy of each tier from ``tiers.yaml``; every tier has one."""
    where = "recipes/tiers.yaml"
    data = _read(folder / "tiers.yaml", where)
    names = {each.value for each in Tier}
    if set(data) != names:
        raise ConfigurationError(
            f"{where}: has the tiers {', '.join(sorted(data))}; wanted are {', '.join(sorted(names))}"
        )
    tiers = {}
    for name, raw in data.items():
        with _explained(f"{where}: {name}"):
            tiers[Tier(name)] = policy = TierPolicy.model_validate(raw)
        _known_presets(policy, f"{where}: {name}")
    return tiers


def _known_presets(policy: TierPolicy, where: str) -> None:
    for name, preset in policy.presets.items():
        _known_preset(preset, _codec(name, f"{where}: presets").software, f"{where}: presets.{name}")
    for name, preset in policy.hardware.items():
        encoder = _codec(name, f"{where}: hardware").hardware
        if encoder is None:
            raise ConfigurationError(f"{where}: hardware.{name}: no hardware encoder makes {name} here")
        _known_preset(preset, encoder, f"{where}: hardware.{name}")


def _codec(name: str, where: str) -> Codec:
    if name not in CODECS:
        raise ConfigurationError(f"{where}: {name}: no such codec (known: {', '.join(CODECS)})")
    return CODECS[name]


def _known_preset(preset: str, encoder: Encoder, where: str) -> None:
    if preset not in encoder.presets:
        known = ", ".join(repr(name) for name in sorted(encoder.presets))
        raise ConfigurationError(f"{where}: Input should be {known}: {encoder.name} knows no preset {preset!r}")


def load_policy(folder: Path = FOLDER) -> Policy:
    """Value, priority and admission from ``policy.yaml``."""
    where = "recipes/policy.yaml"
    data = _read(folder / "policy.yaml", where)
    with _explained(where):
        return Policy.model_validate(data)


def load_cost_rates(folder: Path = FOLDER) -> CostRates:
    """What the work costs per pixel, from ``prior.yaml``."""
    where = "recipes/prior.yaml"
    data = _read(folder / "prior.yaml", where)
    with _explained(where):
        return CostRates.model_validate(data)


def load_presets(folder: Path = FOLDER) -> Presets:
    """What faster presets lose, from ``presets.yaml``."""
    where = "recipes/presets.yaml"
    data = _read(folder / "presets.yaml", where)
    with _explained(where):
        return Presets.model_validate(data)


def _rung(entry: Any, where: str) -> Rung:
    with _explained(where):
        rung = Rung.model_validate(entry)
    for field in ("width", "height", "maxrate_kbps", "crf"):
        if getattr(rung, field) <= 0:
            raise ConfigurationError(f"{where}: {field} {getattr(rung, field)} must be above 0")
    if rung.width < rung.height or rung.width % 2 or rung.height % 2:
        raise ConfigurationError(f"{where}: box {rung.width}×{rung.height} must be even and landscape")
    return rung


def _ordered(rungs: list[Rung], where: str) -> None:
    names: set[str] = set()
    for number, rung in enumerate(rungs, start=1):
        if rung.name in names:
            raise ConfigurationError(f"{where}: rung {number}: name {rung.name} appears twice")
        names.add(rung.name)
    for number, (lower, upper) in enumerate(itertools.pairwise(rungs), start=2):
        for field in ("width", "height", "maxrate_kbps"):
            low, high = getattr(lower, field), getattr(upper, field)
            if high <= low:
                raise ConfigurationError(
                    f"{where}: rung {number}: {field} {high} is not above rung {number - 1}'s {low}"
                )


def _read(path: Path, where: str) -> dict[str, Any]:
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{where}: {error}") from error
    if not isinstance(data, dict):
        raise ConfigurationError(f"{where}: must be a mapping")
    return data


@contextmanager
def _explained(where: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        first = faults(error)[0]
        raise ConfigurationError(f"{where}: {first.told} (got {first.value})") from error
