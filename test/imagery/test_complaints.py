# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest

from g2s_localizer.imagery.complaints import decode_listening
from g2s_localizer.imagery.picture import UnusablePicture, decode_picture

SMOOTH = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 256, (200, 320, 3), dtype=np.uint8), (0, 0), 1.5
)
KINDS = {
    "baseline": [],
    "fine": [cv2.IMWRITE_JPEG_QUALITY, 98],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restart markers": [cv2.IMWRITE_JPEG_RST_INTERVAL, 5],
}


def jpeg(kind="baseline", pixels=SMOOTH):
    return cv2.imencode(".jpg", pixels, KINDS[kind])[1].tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_jpeg_is_taken(kind):
    assert decode_picture(jpeg(kind)).shape == SMOOTH.shape
    assert decode_picture(jpeg(kind, SMOOTH[..., 0])).shape == SMOOTH.shape


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8])
def test_a_jpeg_that_lost_bytes_in_its_middle_is_refused_with_the_decoders_words(kind, share):
    whole = jpeg(kind)
    at = int(share * len(whole))
    with pytest.raises(UnusablePicture, match="damaged.*: (Corrupt JPEG|Inconsistent|Premature)"):
        decode_picture(whole[:at] + whole[at + 1400 :])


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_png_that_lost_bytes_is_refused(share):
    whole = cv2.imencode(".png", SMOOTH)[1].tobytes()
    at = int(share * len(whole))
    with pytest.raises(UnusablePicture, match="PNG that cannot be decoded"):
        decode_picture(whole[:at] + whole[at + 9 :])


def test_what_others_write_to_standard_error_meanwhile_arrives(capfd):
    def write():
        for number in range(300):
            os.write(2, b"line %d\n" % number)

    writer = threading.Thread(target=write)
    writer.start()
    damaged = jpeg()[:3000] + jpeg()[4400:]
    while writer.is_alive():
        assert decode_listening(damaged, cv2.IMREAD_COLOR)[1]
    assert capfd.readouterr().err.splitlines() == [f"line {number}" for number in range(300)]


def test_pictures_decoded_at_once_keep_their_complaints_apart():
    found = {True: set(), False: set()}
    whole = jpeg()
    damaged = whole[:3000] + whole[4400:]

    def decode(is_whole):
        for _ in range(20):
            encoded = whole if is_whole else damaged
            found[is_whole].add(decode_listening(encoded, cv2.IMREAD_COLOR)[1] == "")

    threads = [threading.Thread(target=decode, args=[which]) for which in (True, False) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {True: {True}, False: {False}}


def test_a_process_without_standard_error_still_decodes(tmp_path):
    (tmp_path / "picture.jpg").write_bytes(jpeg())
    code = (
        "import os, pathlib, sys\n"
        "from g2s_localizer.imagery.picture import decode_picture\n"
        "os.close(2)\n"
        "print(decode_picture(pathlib.Path(sys.argv[1]).read_bytes()).shape)\n"
        "try:\n    os.fstat(2)\nexcept OSError:\n    print('closed')\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "picture.jpg")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert found.stdout.split("\n")[:2] == ["(200, 320, 3)", "closed"]
