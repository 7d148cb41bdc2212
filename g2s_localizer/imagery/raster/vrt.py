# SPDX-License-Identifier: Apache-2.0
"""GDAL virtual rasters (VRT) as far as they are read: mosaics of TIFF files below their own folder.

A VRT can name any data set that GDAL opens, a web service or a program among them. Before GDAL
sees the file, everything in it must be on the short list of what `gdalbuildvrt` writes.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.imagery.raster.tiff import check_beside, check_tiff

IntArray = NDArray[np.int64]

_MAX_BYTES = 64 * 1024 * 1024
_MAX_PIXELS = 2.0**40
_RECTANGLE = {"xOff", "yOff", "xSize", "ySize"}

# fmt: off
_ALLOWED: dict[str, set[str]] = {
    "VRTDataset": {"rasterXSize", "rasterYSize"},
    "SRS": {"dataAxisToSRSAxisMapping", "coordinateEpoch"}, "GeoTransform": set(),
    "Metadata": set(), "MDI": {"key"}, "OverviewList": {"resampling"}, "BlockXSize": set(),
    "BlockYSize": set(), "VRTRasterBand": {"dataType", "band", "blockXSize", "blockYSize"},
    "ColorInterp": set(), "NoDataValue": set(), "HideNoDataValue": set(), "Description": set(),
    "SimpleSource": {"resampling"}, "ComplexSource": {"resampling"},
    "SourceFilename": {"relativeToVRT", "shared"}, "SourceBand": set(),
    "SourceProperties": {"RasterXSize", "RasterYSize", "DataType", "BlockXSize", "BlockYSize"},
    "SrcRect": _RECTANGLE, "DstRect": _RECTANGLE, "NODATA": set(), "UseMaskBand": set(),
    "MaskBand": set(),
}
# fmt: on
"""Elements, and the attributes of each, that have a meaning which is known to be harmless."""


def read_vrt(file: Path) -> list[IntArray]:
    """Read where the sources of each band lie: (N, 4) left, top, right, bottom in pixels.

    Raises ValueError naming `file` and what in it is not allowed, or the source that is absent,
    lies outside the folder of `file`, or is no TIFF.
    """
    try:
        return _read(file)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _read(file: Path) -> list[IntArray]:
    with file.open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"longer than {_MAX_BYTES} bytes")
    # Neither entities nor anything else that two parsers could read differently.
    declared = content.lstrip(b"\xef\xbb\xbf \r\n").startswith(b"<?xml ")
    if b"<!" in content or content.count(b"<?") > int(declared):
        raise ValueError("holds a comment, a document type or an instruction")
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise ValueError(f"no XML: {error}") from error
    for element in root.iter():
        if element.tag not in _ALLOWED:
            raise ValueError(f"<{element.tag}> is not allowed; only mosaics of TIFF files are")
        unknown = sorted(set(element.attrib) - _ALLOWED[element.tag])
        if unknown:
            raise ValueError(f"<{element.tag} {unknown[0]}=...> is not allowed")
    folder, checked = file.resolve().parent, set[tuple[str, str]]()
    for element in root.iter("SourceFilename"):
        name, relative = (element.text or "").strip(), element.get("relativeToVRT", "0")
        if (name, relative) not in checked:
            _check_source(folder, name, relative)
            checked |= {(name, relative)}
    return [_rectangles(band) for band in root.findall("VRTRasterBand")]


def _check_source(folder: Path, name: str, relative: str) -> None:
    if relative not in ("0", "1"):
        raise ValueError(f'relativeToVRT="{relative}" is neither 0 nor 1')
    if relative == "0" and not Path(name).is_absolute():
        raise ValueError(f'the source "{name}" is relative to wherever a program was started')
    if not name or "\0" in name:
        raise ValueError("a source without a name")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise ValueError(f'the source "{name}" lies outside {folder}')
    check_tiff(path, f'the source "{name}"')
    check_beside(folder / name, f'the source "{name}"')


def _rectangles(band: ElementTree.Element) -> IntArray:
    sources = [source for source in band if source.tag in ("SimpleSource", "ComplexSource")]
    result = np.empty((len(sources), 4), np.int64)
    for index, source in enumerate(sources):
        rectangle = source.find("DstRect")
        if rectangle is None:
            raise ValueError("a source without a <DstRect>")
        left, top, width, height = (
            _number(rectangle.get(name, "")) for name in ("xOff", "yOff", "xSize", "ySize")
        )
        result[index] = np.rint([left, top, left + width, top + height]).astype(np.int64)
    return result


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < _MAX_PIXELS:
        raise ValueError(f'a <DstRect> with "{text}" for a number of pixels')
    return value
