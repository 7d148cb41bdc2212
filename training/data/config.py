# SPDX-License-Identifier: Apache-2.0
"""The data part of a training configuration: the sources of pairs."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.data.bag_config import BagConfig
from training.data.sample import PriorNoise

KNOWN, UNKNOWN = "known", "unknown"
HEADINGS = (KNOWN, UNKNOWN)


def require(config: object, **holds: bool) -> None:
    """Check a configuration. Raises ValueError naming a field of `config` that does not hold, and
    its value.
    """
    for name, good in holds.items():
        if not good:
            raise ValueError(
                f"{type(config).__name__}.{name} is out of range: {getattr(config, name)!r}"
            )


def require_heading_sought(rotation_deg: float, heading: str, yaw_range_deg: float) -> None:
    """Check headings. Raises ValueError where panoramas are rolled further than the network looks
    and nobody tells it by how much.
    """
    if heading == UNKNOWN and rotation_deg > yaw_range_deg:
        raise ValueError(
            f"VIGOR's panoramas are rolled by up to rotation_deg {rotation_deg:g} and their "
            f"heading is unknown, but the network looks for it within yaw_range_deg "
            f"{yaw_range_deg:g}: either the network has to find it (model.yaw_range_deg "
            f"{rotation_deg:g} and a rotation stage) or it is told (heading known)"
        )


@dataclass(frozen=True)
class SimulatedConfig:
    """Simulated drives, made where they are missing; seeds are given for each difficulty."""

    folder: str
    drives: dict[str, list[int]]
    calibration: dict[str, list[int]]
    """drives whose exact poses set temperature and covariance scale; never trained on"""
    frames: int
    rate: float
    """frames a second"""
    validation: dict[str, list[int]] = field(default_factory=dict)
    """drives of the criterion; never trained on. Empty: those of `calibration`"""

    def __post_init__(self) -> None:
        require(self, frames=self.frames >= 2, rate=self.rate > 0)
        held_out = _all(self.calibration) | _all(self.validation)
        for difficulty, seed in sorted(_all(self.drives) & held_out):
            raise ValueError(f"drive {seed} of {difficulty} is both trained on and held out")


@dataclass(frozen=True)
class KittiConfig:
    """KITTI raw drives in their original layout, as the paper's lists split them."""

    root: str
    """folder of the date folders"""
    imagery: str
    """as `open_imagery` takes it"""
    split: str
    """file of `date/drive/frame.png` lines to train on"""
    validation_share: float = 0.02
    """of the drives' frames at the end of the list: criterion and calibration"""

    def __post_init__(self) -> None:
        require(self, validation_share=0 < self.validation_share < 1)


@dataclass(frozen=True)
class VigorConfig:
    """VIGOR in its original layout with the corrected labels."""

    root: str
    """folder of the cities and of splits__corrected"""
    area: str
    """same: all four cities; cross: New York and Seattle to train, the others to test"""
    rotation_deg: float = 0.0
    """panoramas are rolled by up to this angle: 0 (aligned) or 180 (any heading)"""
    heading: str = UNKNOWN
    """of a rolled panorama: unknown, the prior says north and the network has to find it; known,
    the prior says it and position alone is sought (the paper's 2-DoF with rotation_range 180)"""
    validation_share: float = 0.02

    def __post_init__(self) -> None:
        require(
            self,
            area=self.area in ("same", "cross"),
            rotation_deg=0 <= self.rotation_deg <= 180,
            heading=self.heading in HEADINGS,
            validation_share=0 < self.validation_share < 1,
        )


@dataclass(frozen=True)
class BagsConfig:
    """Own drives: recorded rosbag2 folders and the imagery below them."""

    train: list[str]
    held_out: list[str]
    """bags of the criterion; never trained on"""
    imagery: str
    bag: BagConfig


@dataclass(frozen=True)
class DataConfig:
    """Source of the pairs, exactly one of the four, and the noise of its labels."""

    simulated: SimulatedConfig | None = None
    kitti: KittiConfig | None = None
    vigor: VigorConfig | None = None
    bags: BagsConfig | None = None
    noise: PriorNoise = field(default_factory=PriorNoise)
    share: float = 1.0
    """share of the training pairs that is used, chosen by the seed"""
    spacing_m: float = 64.0
    """least distance between two labels of a batch: the diagonal of the search window plus that
    of the labels' noise"""
    workers: int = 0
    """processes that read pairs, or place drives and make batches; 0: this one,
    which keeps simulated pairs in memory"""

    def __post_init__(self) -> None:
        given = [name for name in _SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(_SOURCES)}, got {given or 'none'}")
        require(
            self,
            share=0 < self.share <= 1,
            spacing_m=self.spacing_m >= 0,
            workers=self.workers >= 0,
        )


_SOURCES = ("simulated", "kitti", "vigor", "bags")


def _all(seeds: dict[str, list[int]]) -> set[tuple[str, int]]:
    return {(difficulty, seed) for difficulty, chosen in seeds.items() for seed in chosen}
