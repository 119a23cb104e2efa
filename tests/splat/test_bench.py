"""The benchmarks of the source tree measure what they say, and do without a network or a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))

from parts import machine, peers  # noqa: E402


def test_animate_prints_one_json_document_with_the_promised_keys() -> None:
    command = [sys.executable, "-m", "lca_bridge.cli.main", "bench", "animate", "--json", "--repeats", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["environment"]["usable_cpus"] >= 1 and report["environment"]["numba"]
    assert report["cpu"]["gaussians"] == 65_536 and report["cpu"]["max_difference_m"] < 1e-5
    assert 0 < report["animate_core_ms_65k"] < report["cpu"]["stepwise_core_ms"]
    assert (report["cuda_over_gsplat_raw"] is None) == bool(report["cuda"]["reason"])


@pytest.mark.slow
def test_splat_prints_one_json_document_with_the_promised_keys() -> None:
    command = [sys.executable, "-m", "lca_bridge.cli.main", "bench", "splat", "--json"]
    command += ["--quick", "--no-peers", "--repeats", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["forward_core_ms_100k_512"] > 0 and 0 < report["backward_over_forward_100k_512"] < 3
    assert 0 < report["warm_start_cpu_s"] < report["cold_start_cpu_s"]
    assert report["thread_scaling_2"] > 0 and report["machine_scaling_ceiling_2"] > 0
    assert report["vs_metal_gauss_20k_256"] is None and report["memory_ratio_metal_gauss"] is None
    assert report["metal_gauss"]["reason"] and report["environment"]["cpu"]
    assert report["oracle"]["image_max_error"] < 2e-3 and report["oracle"]["gradient_relative_l2"] < 1e-3


def test_a_child_process_reports_its_own_peak_memory() -> None:
    """This process is far larger than a bare Python; its size must not leak into the child's number."""
    held = bytearray(400 << 20)
    held[:: 1 << 12] = b"\1" * len(held[:: 1 << 12])
    code = "from parts.machine import peak_memory; print(peak_memory())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True, check=True
    )
    assert 5 << 20 < int(done.stdout) < 200 << 20 < machine.peak_memory()


def test_a_failed_measurement_says_why() -> None:
    with pytest.raises(RuntimeError, match="invalid literal"):
        machine.measure("skinning", "many", 1)


def test_without_network_the_peer_is_left_out_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(RuntimeError, match="could not be installed"):
        peers.install_metal_gauss()
    assert not list(tmp_path.rglob("metal_gauss"))


def test_a_users_own_peer_takes_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LCA_BENCH_OPENSPLAT", raising=False)
    assert peers.opensplat() is None
    file = tmp_path / "mine.py"
    file.write_text(
        "def forward(means, quats, scales, opacities, colors, viewmat, K, width, height):\n"
        "    assert viewmat.shape == (4, 4) and K.shape == (3, 3) and len(means) == len(colors)\n"
        "    return means.new_zeros(height, width, 3)\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("LCA_BENCH_OPENSPLAT", str(file))
    found = machine.measure("opensplat_case", 300, 32, 1)
    assert found["size"] == 32 and found["opensplat_core_ms"] > 0 and found["numba_core_ms"] > 0
