# SPDX-License-Identifier: Apache-2.0
import socket

import numpy as np
import pytest

from g2s_localizer.geometry.geodesy import LatLon
from g2s_localizer.imagery import MissingImagery, open_imagery

pytest.importorskip("rasterio", reason="needs the package rasterio")

import rasterio
import rasterio.warp
from rasterio.enums import Resampling
from rasterio.transform import from_origin

EAST, NORTH, SIDE = 457580.0, 5428740.0, 512


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Where GDAL does call somebody, who never answers, the test fails instead of hanging."""
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "1")


@pytest.fixture()
def centre():
    """The corner where the four tiles of the mosaic meet."""
    lon, lat = rasterio.warp.transform("EPSG:25832", "EPSG:4326", [EAST], [NORTH])
    return LatLon(lat[0], lon[0])


@pytest.fixture()
def tiles(tmp_path):
    """Four GeoTIFFs around the centre, and the whole picture as one."""
    image = np.random.default_rng(0).integers(1, 256, (3, 2 * SIDE, 2 * SIDE), np.uint8)
    names = {}
    for name, row, column, side in [
        ("nw", 0, 0, SIDE), ("ne", 0, SIDE, SIDE), ("sw", SIDE, 0, SIDE), ("se", SIDE, SIDE, SIDE),
        ("all", 0, 0, 2 * SIDE),
    ]:  # fmt: skip
        corner = EAST + (column - SIDE) * 0.2, NORTH - (row - SIDE) * 0.2
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", driver="GTiff", width=side, height=side, count=3,
            dtype="uint8", crs="EPSG:25832", transform=from_origin(*corner, 0.2, 0.2), tiled=True,
        ) as dataset:  # fmt: skip
            dataset.write(image[:, row : row + side, column : column + side])
        names[name] = (column, row)
    return names


def mosaic(folder, tiles, old="", new=""):
    """A VRT over the tiles, as gdalbuildvrt writes it, with a piece of it replaced."""
    bands = ""
    for band, colour in enumerate(("Red", "Green", "Blue"), start=1):
        sources = "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="1">{name}.tif</SourceFilename>'
            f"<SourceBand>{band}</SourceBand>"
            f'<SrcRect xOff="0" yOff="0" xSize="{SIDE}" ySize="{SIDE}"/>'
            f'<DstRect xOff="{x}" yOff="{y}" xSize="{SIDE}" ySize="{SIDE}"/></SimpleSource>'
            for name, (x, y) in tiles.items()
        )
        bands += (
            f'<VRTRasterBand dataType="Byte" band="{band}"><ColorInterp>{colour}</ColorInterp>'
            f"{sources}</VRTRasterBand>"
        )
    text = (
        f'<VRTDataset rasterXSize="{2 * SIDE}" rasterYSize="{2 * SIDE}"><SRS>EPSG:25832</SRS>'
        f"<GeoTransform>{EAST - SIDE * 0.2},0.2,0,{NORTH + SIDE * 0.2},0,-0.2</GeoTransform>"
        f"{bands}</VRTDataset>"
    )
    file = folder / "mosaic.vrt"
    file.write_text(text.replace(old, new) if old else text)
    return str(file)


def test_a_crop_does_not_depend_on_the_borders_of_a_mosaics_files(tmp_path, tiles, centre):
    whole = open_imagery(f"geotiff:{tmp_path / 'all.tif'}").crop(centre, 60.0, 0.2).image
    del tiles["all"]
    parts = open_imagery(mosaic(tmp_path, tiles)).crop(centre, 60.0, 0.2).image
    assert np.array_equal(whole, parts)


def test_where_no_file_lies_the_mosaic_is_missing_and_not_black(tmp_path, tiles, centre):
    del tiles["all"], tiles["se"]
    imagery = open_imagery(mosaic(tmp_path, tiles))
    with pytest.raises(MissingImagery, match="2[45]..% of the crop.*outside the raster") as error:
        imagery.crop(centre, 60.0, 0.2)
    assert imagery.missing(centre, 60.0, 0.2) == error.value.tiles


def test_overviews_beside_a_mosaic_are_used(tmp_path, tiles, centre):
    del tiles["all"]
    file = mosaic(tmp_path, tiles)
    with rasterio.open(file, "r+") as dataset:
        dataset.build_overviews([2, 4], Resampling.average)
    imagery = open_imagery(file)
    assert (tmp_path / "mosaic.vrt.ovr").exists()
    assert imagery._window(centre, 60.0, 0.8).level == 2
    assert imagery.crop(centre, 60.0, 0.8).image.std() < 30


SOURCE = '<SourceFilename relativeToVRT="1">nw.tif</SourceFilename>'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nw.tif", "http://127.0.0.1:{port}/nw.tif", "lies outside|is no file"),
        (SOURCE, SOURCE.replace("nw.tif", "/vsicurl/http://127.0.0.1:{port}/a.tif")
         .replace('"1"', '"0"'), "lies outside"),
        (SOURCE, SOURCE.replace("nw.tif", "/etc/passwd").replace('"1"', '"0"'), "lies outside"),
        (SOURCE, SOURCE.replace("nw.tif", "WMS:http://127.0.0.1:{port}/").replace('"1"', '"0"'),
         "relative to wherever"),
        ("nw.tif", "../nw.tif", "lies outside"),
        ("nw.tif", "link.tif", "lies outside"),
        ("nw.tif", "inner.vrt", "is no TIFF by its content"),
        ("nw.tif", "gone.tif", 'the source "gone.tif" is no file'),
        ("nw.tif", "pointing.tif", "refers to overviews elsewhere"),
        ("nw.tif", "beside.tif", "beside.tif\".ovr is no TIFF"),
        ("SimpleSource", "KernelFilteredSource", "<KernelFilteredSource> is not allowed"),
        ('band="1">', 'band="1" subClass="VRTDerivedRasterBand">', "<VRTRasterBand subClass=...>"),
        ("<SRS>", "<GDALWarpOptions/><SRS>", "<GDALWarpOptions> is not allowed"),
        ("<SRS>", "<sourcefilename>x</sourcefilename><SRS>", "<sourcefilename> is not allowed"),
        ("<SRS>", "<!-- hidden --><SRS>", "holds a comment"),
        ("<VRTDataset", '<!DOCTYPE x [<!ENTITY a "b">]><VRTDataset', "is no TIFF by its content"),
        ("</VRTDataset>", "", "no XML"),
        ('xOff="512"', 'xOff="nan"', '<DstRect> with "nan"'),
    ],
)  # fmt: skip
def test_what_could_lead_out_of_the_folder_is_refused_and_nobody_is_called(
    tmp_path, tiles, centre, old, new, message
):
    (tmp_path / "link.tif").symlink_to("/etc/hostname")
    (tmp_path / "inner.vrt").write_text("<VRTDataset/>")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        for name in ("pointing", "beside"):
            (tmp_path / f"{name}.tif").write_bytes((tmp_path / "nw.tif").read_bytes())
        with rasterio.open(tmp_path / "pointing.tif", "r+") as dataset:
            dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=f"http://127.0.0.1:{port}/o.tif")
        (tmp_path / "beside.tif.ovr").write_text("<GDAL_WMS/>")
        file = mosaic(tmp_path, tiles, old, new.replace("{port}", port))
        with pytest.raises(ValueError, match=message):
            open_imagery(f"geotiff:{file}").crop(centre, 60.0, 0.2)
        assert not called(server)


def called(server):
    server.settimeout(0.05)
    try:
        server.accept()
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("where", ["in the file", "beside it"])
@pytest.mark.parametrize(
    "address", ["http://{}/o.tif", "/vsicurl/http://{}/o.tif", "WMS:http://{}/"]
)
def test_overviews_elsewhere_are_not_called_for(tmp_path, tiles, centre, where, address):
    with socket.create_server(("127.0.0.1", 0)) as server:
        target = address.format(f"127.0.0.1:{server.getsockname()[1]}")
        file = tmp_path / "all.tif"
        if where == "in the file":
            with rasterio.open(file, "r+") as dataset:
                dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=target)
            with pytest.raises(ValueError, match="all.tif refers to overviews elsewhere"):
                open_imagery(str(file))
        else:
            (tmp_path / "all.tif.aux.xml").write_text(
                '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">'
                f"{target}</MDI></Metadata></PAMDataset>"
            )
            open_imagery(str(file)).crop(centre, 60.0, 2.0)
        assert not called(server)


@pytest.mark.parametrize("byte", range(0, 400, 23))
def test_a_damaged_header_is_refused_or_missing(tmp_path, tiles, centre, byte):
    content = bytearray((tmp_path / "all.tif").read_bytes())
    content[byte : byte + 4] = np.random.default_rng(byte).bytes(4)
    (tmp_path / "bad.tif").write_bytes(content)
    try:
        open_imagery(f"geotiff:{tmp_path / 'bad.tif'}").crop(centre, 60.0, 0.2)
    except (ValueError, MissingImagery) as error:
        assert "bad.tif" in str(error)


def test_overviews_that_are_a_link_to_elsewhere_are_refused(tmp_path, tmp_path_factory, tiles):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "se.tif"
    (tmp_path / "se.tif").rename(elsewhere)
    (tmp_path / "nw.tif.ovr").symlink_to(elsewhere)
    with pytest.raises(ValueError, match="nw.tif.ovr is a link that leads elsewhere"):
        open_imagery(str(tmp_path / "nw.tif"))
