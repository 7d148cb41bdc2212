# SPDX-License-Identifier: Apache-2.0
"""The training configuration: a YAML file into frozen dataclasses, unknown keys refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from g2s_localizer.estimator.localizer import PRECISIONS
from g2s_localizer.imagery.yaml_file import read_yaml
from g2s_localizer.model import ModelConfig, model_config
from g2s_localizer.model.config import LIFT
from g2s_localizer.model.presets import read_model_config
from training.data.config import UNKNOWN, DataConfig, require, require_heading_sought
from training.loop.devices import AUTO
from training.settings import merged, with_settings
from training.sizes import require_sizes

ConfigT = TypeVar("ConfigT")


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms of the translation loss; a weight of 0 leaves a term out.

    weak          right crops before wrong ones (`contrastive_coe`)
    gps_window    the best match lies near a GNSS fix (`GPS_error_coe`)
    supervised    dense triplet loss of the exact cell: the only term that sees exact poses
    gps_error_m   half width of the window around the fix, and the largest error of the fix
                  itself along each axis (m) (`GPS_error`)
    """

    weak: float = 1.0
    gps_window: float = 0.0
    supervised: float = 0.0
    gps_error_m: float = 5.0

    def __post_init__(self) -> None:
        terms = {name: getattr(self, name) for name in ("weak", "gps_window", "supervised")}
        require(self, **{name: value >= 0 for name, value in terms.items()})
        require(self, gps_error_m=self.gps_error_m > 0)
        if not any(terms.values()):
            raise ValueError(f"a loss needs a term with a weight, got {terms}")


@dataclass(frozen=True)
class StageConfig:
    """One stage: rotation or translation. A step is one update of the weights.

    steps or epochs   how long, exactly one of them
    batch             pairs that are contrasted with each other, on each rank
    per_drive         pairs of a batch from each drive; null: as the shuffle has it
    accumulate        batches of a step on each rank
    weight_decay      of AdamW; 0 makes it Adam
    schedule          "one_cycle" or "constant" learning rate
    clip_norm         largest norm of the gradient
    ema               decay of the averaged weights, which are what is validated and kept;
                      0: the weights themselves
    validate_every    steps between validations (each saves the state); 0: at the end only
    validation_batches  held-out batches of a validation
    patience          validations without a better criterion before the stage stops; 0: never
    """

    batch: int
    learning_rate: float
    steps: int | None = None
    epochs: float | None = None
    per_drive: int | None = None
    accumulate: int = 1
    weight_decay: float = 0.0
    schedule: str = "constant"
    clip_norm: float | None = None
    ema: float = 0.0
    validate_every: int = 0
    validation_batches: int = 8
    patience: int = 0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"needs steps or epochs, not both, got {self.steps} and {self.epochs}")
        require(
            self,
            batch=self.batch >= 2,
            learning_rate=self.learning_rate > 0,
            steps=self.steps is None or self.steps >= 1,
            epochs=self.epochs is None or self.epochs > 0,
            per_drive=self.per_drive is None or self.batch % self.per_drive == 0,
            accumulate=self.accumulate >= 1,
            weight_decay=self.weight_decay >= 0,
            schedule=self.schedule in ("one_cycle", "constant"),
            clip_norm=self.clip_norm is None or self.clip_norm > 0,
            ema=0 <= self.ema < 1,
            validate_every=self.validate_every >= 0,
            validation_batches=self.validation_batches >= 1,
            patience=self.patience >= 0,
        )


@dataclass(frozen=True)
class TranslationConfig(StageConfig):
    loss: LossConfig = field(default_factory=LossConfig)


@dataclass(frozen=True)
class TrainingConfig:
    """A run. Stages stand in their order; one that is left out is not trained.

    out         folder of the run; the finished checkpoint in it takes its name
    precision   of the extractors: fp32, bf16 or fp16; auto: bf16 on a GPU that has it, else fp32
    init_from   checkpoint whose weights the first stage starts from; "": random ones
    vgg16       torchvision-format state dict of VGG-16 trained on ImageNet, from which the
                extractors of the paper's presets start; "": random ones
    keep_checkpoints  keep the network of every validation, to be scored by `training.evaluate`
    """

    out: str
    data: DataConfig
    seed: int = 0
    precision: str = AUTO
    device: str = AUTO
    model: ModelConfig = field(default_factory=model_config)
    init_from: str = ""
    vgg16: str = ""
    keep_checkpoints: bool = False
    rotation: StageConfig | None = None
    translation: TranslationConfig | None = None

    def __post_init__(self) -> None:
        require(
            self,
            precision=self.precision in (AUTO, *PRECISIONS),
            device=self.device in (AUTO, "cpu"),
        )
        if self.model.preset == LIFT:
            raise ValueError("the preset lift is trained by training.distil, not in stages")
        require_sizes(self.model)
        if self.rotation is None and self.translation is None:
            raise ValueError("needs at least one stage: rotation or translation")
        if self.rotation is not None and self.model.yaw_range_deg == 0:
            raise ValueError(
                "there is no rotation to train with a model.yaw_range_deg of 0: leave out the "
                "rotation stage, or say how far the heading may lie from the prior's"
            )
        vigor = self.data.vigor
        if vigor is not None:
            require_heading_sought(vigor.rotation_deg, vigor.heading, self.model.yaw_range_deg)
            sought = vigor.rotation_deg > 0 and vigor.heading == UNKNOWN
            if sought and self.rotation is None and not self.init_from:
                raise ValueError(
                    "data.vigor.heading is unknown and nothing learns to find it: needs a "
                    "rotation stage, or init_from a network that had one"
                )


def flat(config: dict[str, Any], where: str = "") -> dict[str, Any]:
    """A nested configuration as one level of dotted keys."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            found |= flat(value, f"{where}{key}.")
        else:
            found[where + key] = value
    return found


def load_config(path: Path, settings: Sequence[str] = ()) -> TrainingConfig:
    """Return the configuration of training.train; raises as `read_config`."""
    return read_config(TrainingConfig, path, settings)


def read_config(kind: type[ConfigT], path: Path, settings: Sequence[str] = ()) -> ConfigT:
    """Return a YAML file as the dataclass `kind`, with `settings` in place of its values.

    `extends: OTHER.yaml`: what is not given here is as in the file of that name in the same
    folder. Raises OSError for a file that cannot be read, ValueError naming the file, the settings
    and the key that is unknown, missing or out of range.
    """
    values = _read(path)
    try:
        config: ConfigT = _build(kind, with_settings(values, settings), "")
    except ValueError as error:
        given = f"{path} with {', '.join(settings)}" if settings else path
        raise ValueError(f"{given}: {error}") from error
    return config


def read_data_config(path: Path) -> DataConfig:
    """The data part of a configuration of training.train or training.distil; raises likewise."""
    values = _read(path)
    data = values.get("data") if isinstance(values, dict) else values
    try:
        config: DataConfig = _build(DataConfig, data, "data.")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return config


def reseeded(config: ConfigT, seed: int | None) -> ConfigT:
    """The same run from another seed (None: its own), with the seed in the name of its `out`."""
    if seed is None:
        return config
    given: Any = config
    out = Path(given.out)
    seeded: ConfigT = replace(given, seed=seed, out=str(out.with_stem(f"{out.stem}_seed{seed}")))
    return seeded


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
