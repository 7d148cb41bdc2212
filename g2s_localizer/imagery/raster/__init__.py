# SPDX-License-Identifier: Apache-2.0
"""Georeferenced rasters: GeoTIFF, cloud-optimised GeoTIFF and VRT, read by rasterio."""
