# SPDX-License-Identifier: Apache-2.0
"""From a place to its satellite crop and the features of it: what a FeatureCache is filled by."""

from __future__ import annotations

import torch

from g2s_localizer.estimator.feature_cache import CachedCrop
from g2s_localizer.geometry import LocalFrame
from g2s_localizer.imagery import Imagery
from g2s_localizer.model import RegistrationNet, prepare_satellite


class CropEncoder:
    """Cuts the network's crop out of the imagery and encodes it on the network's device.

    Knows neither the cache nor the localizer that use it: what they hold is free with them.
    """

    def __init__(self, network: RegistrationNet, imagery: Imagery, device: torch.device) -> None:
        self._network = network
        self._imagery = imagery
        self._device = device

    def __call__(self, frame: LocalFrame, x: float, y: float, yaw: float | None) -> CachedCrop:
        """Return the crop centred on (x, y), metres in `frame`, its u axis along `yaw` there (rad);
        None: north-up. Raises as Imagery.crop does.
        """
        model = self._network.config
        place = frame.to_latlon(x, y)
        lean = frame.convergence(place)
        turn = 0.0 if yaw is None else yaw - lean
        crop = self._imagery.crop(place, model.crop_m, model.gsd, turn)
        image = prepare_satellite(crop.image)[None].to(self._device)
        with torch.inference_mode():
            features = self._network.encode_satellite(image)
        return CachedCrop(crop, features, x, y, lean + turn)
