# SPDX-License-Identifier: Apache-2.0
"""The training configuration: a YAML file into frozen dataclasses, unknown keys refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from g2s_localizer.imagery.yaml_file import read_yaml
from g2s_localizer.model import ModelConfig
from g2s_localizer.model.presets import read_model_config
from training.data.config import DataConfig
from training.lift.config import LiftConfig
from training.loop.config import TrainingConfig
from training.paper.config import PaperConfig
from training.settings import merged, with_settings

ConfigT = TypeVar("ConfigT", bound=TrainingConfig)

_RECIPES: dict[str, type[PaperConfig | LiftConfig]] = {"paper": PaperConfig, "lift": LiftConfig}


def load_config(path: Path, settings: Sequence[str] = ()) -> PaperConfig | LiftConfig:
    """Return a YAML file as the configuration of its `recipe` (paper where it names none), with
    `settings` in place of its values.

    `extends: OTHER.yaml`: what is not given here is as in the file of that name in the same
    folder. Raises OSError for a file that cannot be read, ValueError naming the file, the settings
    and the key that is unknown, missing or out of range.
    """
    values = _read(path)
    try:
        values = with_settings(values, settings)
        recipe = values.get("recipe", "paper") if isinstance(values, dict) else "paper"
        if recipe not in _RECIPES:
            raise ValueError(f"recipe must be one of {', '.join(_RECIPES)}, got {recipe!r}")
        config: PaperConfig | LiftConfig = _build(_RECIPES[recipe], values, "")
    except ValueError as error:
        given = f"{path} with {', '.join(settings)}" if settings else path
        raise ValueError(f"{given}: {error}") from error
    return config


def read_data_config(path: Path) -> DataConfig:
    """Return the data part of a configuration; raises as `load_config`."""
    values = _read(path)
    data = values.get("data") if isinstance(values, dict) else values
    try:
        config: DataConfig = _build(DataConfig, data, "data.")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return config


def reseeded(config: ConfigT, seed: int | None) -> ConfigT:
    """Return the same run from another seed (None: its own), with the seed in its `out`."""
    if seed is None:
        return config
    out = Path(config.out)
    return replace(config, seed=seed, out=str(out.with_stem(f"{out.stem}_seed{seed}")))


def _read(path: Path, above: tuple[Path, ...] = ()) -> Any:
    """Return what a file and those that it extends hold; `above` are those that extend it."""
    values = read_yaml(path)
    if not isinstance(values, dict) or "extends" not in values:
        return values
    other = path.parent / str(values.pop("extends"))
    chain = (*above, path.resolve())
    if other.resolve() in chain:
        raise ValueError(f"{path}: extends itself ({' -> '.join(f.name for f in chain)})")
    return merged(_read(other, chain), values)


def _build(kind: type, values: Any, where: str) -> Any:
    name = where.rstrip(".") or "the file"
    if not isinstance(values, dict):
        raise ValueError(f"{name} must be a mapping, got {values!r}")
    if kind is ModelConfig:
        return _made(lambda: read_model_config(values), name)
    types = get_type_hints(kind)
    unknown = [key for key in values if key not in types]
    if unknown:
        raise ValueError(f"unknown key {where}{unknown[0]}")
    for wanted in fields(kind):
        required = wanted.default is MISSING and wanted.default_factory is MISSING
        if required and wanted.name not in values:
            raise ValueError(f"missing key {where}{wanted.name}")
    built = {key: _value(types[key], value, where + key) for key, value in values.items()}
    return _made(lambda: kind(**built), name)


def _made(make: Callable[[], Any], name: str) -> Any:
    try:
        return make()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error


def _value(kind: Any, value: Any, where: str) -> Any:
    kinds = get_args(kind) if NoneType in get_args(kind) else (kind,)
    if value is None and NoneType in kinds:
        return None
    kind = kinds[0]
    if is_dataclass(kind):
        assert isinstance(kind, type)
        return _build(kind, value, f"{where}.")
    plain = getattr(kind, "__origin__", kind)
    number = isinstance(value, int) and not isinstance(value, bool)
    if plain is float and number:
        return float(value)
    if plain is tuple and isinstance(value, list):
        return tuple(_value(float, each, f"{where}, in it") for each in value)
    if not isinstance(value, plain) or (plain is int and not number):
        hint = " (YAML reads 1e-4 as text: write 1.0e-4)" if isinstance(value, str) else ""
        raise ValueError(f"{where} must be {_named(plain)}, got {value!r}{hint}")
    return value


def _named(kind: type) -> str:
    names = {
        float: "a number",
        int: "a whole number",
        str: "text",
        bool: "true or false",
        list: "a list",
        dict: "a mapping",
        tuple: "a list",
    }
    return names[kind]
