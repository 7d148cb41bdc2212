# SPDX-License-Identifier: Apache-2.0
"""The algorithm: one ground image and its prior in, one estimate out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from g2s_localizer.estimator.agreement import Agreement
from g2s_localizer.estimator.config import PRECISIONS, LocalizerConfig
from g2s_localizer.estimator.crop_encoder import CropEncoder
from g2s_localizer.estimator.estimate import (
    UNKNOWN_VARIANCE,
    Estimate,
    Observation,
    Prior,
    Rejection,
    ScoreGrid,
)
from g2s_localizer.estimator.feature_cache import CachedCrop, FeatureCache
from g2s_localizer.estimator.gate import at_border, gate, innovation, within_reach
from g2s_localizer.estimator.heading_search import HeadingSearch
from g2s_localizer.estimator.mirror_watch import MirrorWatch
from g2s_localizer.estimator.presence import Presence, probability
from g2s_localizer.estimator.read_ahead import ReadAhead
from g2s_localizer.geometry import Pose2D
from g2s_localizer.geometry.mounting import extrinsic_from_parameters
from g2s_localizer.geometry.pose import rotate_covariance
from g2s_localizer.imagery import Imagery, MissingImagery, open_imagery
from g2s_localizer.imagery.coverage import Coverage, measure_coverage
from g2s_localizer.imagery.level import Box
from g2s_localizer.model import (
    Registration,
    RegistrationNet,
    load_checkpoint,
    prepare_ground,
    wrong_camera,
)
from g2s_localizer.model.checkpoint import SHIPPED
from g2s_localizer.model.folding import fold_batch_norm

SNAP_M = 4.0
"""Grid of the centres of satellite crops (m): a crop serves a vehicle for about this far."""

_FLAT_IMAGE_DEVIATION = 4.0


class Localizer:
    """Registers ground images with satellite imagery around their priors.

    The estimate is the likelihood of the image alone, within the search window around the
    prior: it does not contain the prior, so a filter may fuse both.
    """

    def __init__(
        self,
        network: RegistrationNet,
        checkpoint_id: str,
        imagery: Imagery,
        config: LocalizerConfig,
    ) -> None:
        self.checkpoint_id = checkpoint_id
        self.attribution = imagery.attribution
        self.map_offset_m = imagery.offset_m
        self._device = torch.device(config.device)
        self._network = network.eval().to(self._device)
        self._network.precision = PRECISIONS[config.precision]
        self._imagery = imagery
        self._config = config
        self._limits = config.gate.with_floor(network.correlation_floor.item())
        map_sigma_m = max(config.map_sigma_m, imagery.georeferencing_sigma_m or 0.0)
        self._presence = Presence()
        self._agreement = Agreement()
        self._mirror = MirrorWatch()
        self._headings = HeadingSearch()
        self._map_covariance = np.diag([map_sigma_m**2, map_sigma_m**2, 0.0])
        encoder = CropEncoder(self._network, imagery, self._device)
        model = network.config
        most = round(config.cache_mb * 2**20)
        self._cache = FeatureCache(encoder, SNAP_M, most, model.turned_crop)
        self.read_ahead = ReadAhead(imagery, model.imagery_m, model.gsd, SNAP_M)

    @classmethod
    def from_config(cls, config: LocalizerConfig) -> Localizer:
        """Open all parts. Raises CheckpointError, FileNotFoundError or ValueError for a broken
        set-up.
        """
        network, checkpoint_id = load_checkpoint(
            Path(config.checkpoint or SHIPPED), config.checkpoint_sha256
        )
        fold_batch_norm(network)
        if config.threads:
            torch.set_num_threads(config.threads)
            cv2.setNumThreads(config.threads)
        return cls(network, checkpoint_id, open_imagery(config.imagery), config)

    def warm_up(self) -> None:
        """Run the network once on zeros, so that the first image costs no more than the next."""
        model = self._network.config
        side = round(model.crop_m / model.gsd)
        zeros = partial(torch.zeros, dtype=torch.uint8, device=self._device)
        with torch.inference_mode():
            satellite = self._network.encode_satellite(zeros(1, 3, side, side))
        self._network.register(
            zeros(1, 3, model.ground_height, model.ground_width),
            self._tensor(None if model.panorama else np.eye(3)),
            self._tensor(extrinsic_from_parameters((0.0, 0.0, 1.5), (0.0, 0.0, 0.0))),
            0.0,
            satellite,
        )

    def coverage(self, area: Box) -> Coverage:
        """Measure in how much of `area` the imagery has all that localizing there needs."""
        model = self._network.config
        return measure_coverage(self._imagery, area, model.imagery_m + SNAP_M, model.gsd)

    def localize(self, observation: Observation) -> Estimate:
        """Estimate the pose of one observation; expected trouble is a rejection, never raised."""
        start = time.perf_counter()
        refuse = partial(self._refuse, observation, start)
        prior, model = observation.prior, self._network.config

        # 1. The prior says where to look, and how far.
        if too_wide := self._too_wide(prior):
            return refuse(Rejection.UNCERTAIN_PRIOR, too_wide)

        # 2. The ground image, as the network takes it.
        if wrong := wrong_camera(observation.camera, model.panorama):
            return refuse(Rejection.NO_CAMERA, wrong)
        size = model.ground_height, model.ground_width
        ground, camera = prepare_ground(
            observation.image, observation.camera, size, model.whole_image
        )
        # Every sixteenth pixel of what the network sees: all of a large image would cost 50 ms.
        deviation = float(ground[:, ::4, ::4].numpy().std())
        if deviation < _FLAT_IMAGE_DEVIATION:
            return refuse(Rejection.BAD_IMAGE, f"deviation of its pixels {deviation:.1f} of 255")

        # 3. The satellite crop around the prior, encoded; and the prior in its axes.
        try:
            satellite = self._cache.get(prior.frame, prior.pose.x, prior.pose.y, prior.pose.yaw)
        except MissingImagery as error:
            return refuse(Rejection.NO_IMAGERY, str(error))
        finally:
            self.read_ahead.follow(prior)
        in_crop = replace(
            prior,
            pose=satellite.pose.between(prior.pose),
            covariance=rotate_covariance(prior.covariance, -satellite.turn),
        )

        # 4. The network registers one with the other.
        configured = math.radians(model.yaw_range_deg)
        searched = configured
        if self._network.any_heading:
            searched = max(_two_sigma(prior.covariance[2:, 2:]), configured)
        register = partial(
            self._network.register,
            K=self._tensor(camera.K),
            T_base_camera=self._tensor(camera.T_base_camera),
            yaw=in_crop.pose.yaw,
            satellite=satellite.features,
            yaw_range=searched if searched > configured else None,
        )
        image = ground[None].to(self._device)
        try:
            registration = register(image)
            self._question(observation, satellite, registration.evidence, register, image)
        except FloatingPointError as error:
            return refuse(Rejection.FLAT_SCORE, str(error))

        # 5. Its covariance: of the peak, and of the other places that the prior leaves possible.
        spread = self._map_covariance[:2, :2] + model.cell_m**2 * np.eye(2)
        region = within_reach(in_crop, (0.0, 0.0), spread, self._limits)
        possible = region.holds(registration.score_map.cell_xy())
        covariance = registration.within + registration.beyond(possible)
        if not configured:  # the heading is the prior's, of which the image says nothing
            covariance[2], covariance[:, 2] = 0.0, 0.0
            covariance[2, 2] = UNKNOWN_VARIANCE

        # 6. The estimate in map, or the reason why there is none.
        return self._conclude(observation, satellite, registration, covariance, searched, start)

    def encode_ahead(self) -> None:
        """Encode the crop that the next images need, at most one: call it while no image waits.

        Whatever goes wrong with it will be said by the image that needs it.
        """
        for place in self.read_ahead.next_places:
            if not self._cache.has(*place):
                with suppress(Exception):
                    self._cache.get(*place)
                return

    def _too_wide(self, prior: Prior) -> str | None:
        """Return why the prior is too uncertain for the network's search window, None if not."""
        model = self._network.config
        reach, window = _two_sigma(prior.covariance[:2, :2]), model.search_m - SNAP_M / 2.0
        if reach > window:
            return f"2 sigma of the prior are {reach:.1f} m, the search window {window:.1f} m"
        yaw_reach = math.degrees(_two_sigma(prior.covariance[2:, 2:]))
        if yaw_reach > model.max_prior_yaw_deg:
            return (
                f"2 sigma of its heading are {yaw_reach:.1f} degrees, the search window "
                f"{model.max_prior_yaw_deg:.1f} degrees"
            )
        return None

    def _question(
        self,
        observation: Observation,
        satellite: CachedCrop,
        evidence: float,
        register: Callable[..., Registration],
        image: torch.Tensor,
    ) -> None:
        """Register the image all around where its heading is in doubt, and now and then mirrored.

        evidence: of the image as it is; register: its registration, of which only what is asked
        differs.
        """
        prior = observation.prior
        sigma = math.sqrt(prior.covariance[2, 2])
        turns = self._network.any_heading and 2.0 * sigma < math.pi
        if turns and self._headings.asks(evidence, prior.confirmed):
            around = register(image, yaw_range=math.pi)
            found = around.yaw + satellite.turn
            self._headings.add(observation.stamp_ns, around.evidence, prior.pose.yaw, found, sigma)
        if not self._headings.finding and self._mirror.asks():
            self._mirror.add(evidence, register(image.flip(-1)).evidence)

    def _conclude(
        self,
        observation: Observation,
        satellite: CachedCrop,
        registration: Registration,
        in_crop: NDArray[np.float64],
        searched: float,
        start: float,
    ) -> Estimate:
        """Gate what the network says. in_crop: (3, 3) covariance in the axes of the crop."""
        prior = observation.prior
        score_map = registration.score_map
        pose = satellite.pose @ Pose2D(registration.x, registration.y, registration.yaw)
        covariance = rotate_covariance(in_crop, satellite.turn) + self._map_covariance
        log_odds = self._presence.update(
            observation.stamp_ns,
            registration.evidence + self._agreement.evidence(prior, pose),
        )
        evidence = score_map.entropy, registration.peak_ratio, registration.correlation
        known = replace(prior, confirmed=prior.confirmed or self._headings.confirmed)
        refused = gate(pose, covariance, known, *evidence, probability(log_odds), self._limits)
        if refused is None or refused[0] is not Rejection.NOT_HERE:
            refused = at_border(registration, prior.pose.yaw - satellite.turn, searched) or refused
        if self._mirror.sentence:
            refused = Rejection.NOT_HERE, self._mirror.sentence
        if turned := self._headings.finding:
            refused = Rejection.WRONG_HEADING, turned.sentence
        rejection, detail = refused or (None, "")
        return Estimate(
            stamp_ns=observation.stamp_ns,
            prior=prior,
            pose=pose,
            covariance=covariance,
            rejection=rejection,
            detail=detail,
            score_grid=ScoreGrid(
                score_map.log_probability.cpu().numpy(), score_map.cell_m, satellite.pose
            ),
            crop=satellite.crop,
            innovation=innovation(pose, covariance, prior),
            entropy=score_map.entropy,
            peak_ratio=registration.peak_ratio,
            correlation=registration.correlation,
            min_correlation=self._limits.min_correlation,
            presence=probability(log_odds),
            latency_s=time.perf_counter() - start,
        )

    def _refuse(
        self, observation: Observation, start: float, rejection: Rejection, detail: str
    ) -> Estimate:
        return Estimate(
            stamp_ns=observation.stamp_ns,
            prior=observation.prior,
            rejection=rejection,
            detail=detail,
            latency_s=time.perf_counter() - start,
        )

    def _tensor(self, array: NDArray[np.float64] | None) -> torch.Tensor | None:
        return (
            None
            if array is None
            else torch.from_numpy(array.astype(np.float32))[None].to(self._device)
        )


def _two_sigma(covariance: NDArray[np.float64]) -> float:
    """Return twice the largest standard deviation of any direction of a covariance."""
    return 2.0 * math.sqrt(max(np.linalg.eigvalsh(covariance).max(), 0.0))
