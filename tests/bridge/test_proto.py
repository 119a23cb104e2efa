"""The committed generated code is what the .proto files say, and the files keep the house's lint rules."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

PROTO = Path(__file__).parents[2] / "proto"
BUF = Path(sys.executable).parent / "buf"

pytestmark = pytest.mark.skipif(not BUF.exists(), reason="buf-bin is not installed")


def buf(*args: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([BUF, *args], cwd=PROTO, capture_output=True, check=False)


def test_protos_are_lint_clean():
    result = buf("lint")
    assert result.returncode == 0, result.stdout.decode()


def test_nothing_that_was_released_is_broken():
    result = buf("breaking", "--against", "baseline.binpb")
    assert result.returncode == 0, result.stdout.decode()


@pytest.mark.parametrize(
    "old,new",
    [
        ("uint64 frame_id = 1;", "uint64 frame_id = 90;"),
        ("double time_code = 2;", "float time_code = 2;"),
        ("repeated float gaze = 6;", ""),
    ],
)
def test_the_breaking_check_sees_a_break(tmp_path, old, new):
    shutil.copytree(PROTO / "lca", tmp_path / "lca", ignore=shutil.ignore_patterns("*.py*", "__pycache__"))
    shutil.copy(PROTO / "buf.yaml", tmp_path)
    path = tmp_path / "lca" / "v1" / "motion.proto"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert buf("breaking", str(tmp_path), "--against", "baseline.binpb").returncode == 100


def _without_json_names(file: descriptor_pb2.FileDescriptorProto) -> bytes:
    """protoc leaves the default json_name out of generated code, buf writes it."""
    file.ClearField("source_code_info")

    def clear(message: descriptor_pb2.DescriptorProto) -> None:
        for field in [*message.field, *message.extension]:
            field.ClearField("json_name")
        for nested in message.nested_type:
            clear(nested)

    for message in file.message_type:
        clear(message)
    return file.SerializeToString(deterministic=True)


def test_committed_code_is_current():
    result = buf("build", "-o", "-", "--exclude-source-info", "--as-file-descriptor-set")
    assert result.returncode == 0, result.stderr.decode()
    sources = descriptor_pb2.FileDescriptorSet.FromString(result.stdout)
    ours = {f.name: f for f in sources.file if f.name.startswith("lca/v1/")}
    assert len(ours) == len(list((PROTO / "lca" / "v1").glob("*.proto")))
    for name, source in ours.items():
        module = importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
        generated = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        assert _without_json_names(generated) == _without_json_names(source), f"run proto/generate.py: {name}"


def test_every_rpc_has_a_stub_and_a_servicer():
    for path in (PROTO / "lca" / "v1").glob("*_service.proto"):
        pb2 = importlib.import_module(f"lca.v1.{path.stem}_pb2")
        grpc_module = importlib.import_module(f"lca.v1.{path.stem}_pb2_grpc")
        for service in pb2.DESCRIPTOR.services_by_name.values():
            servicer = getattr(grpc_module, f"{service.name}Servicer")
            assert all(hasattr(servicer, method.name) for method in service.methods)


def test_error_details_are_wire_compatible_with_google_rpc():
    from lca.v1.status_pb2 import ErrorInfo, RpcStatus

    # field numbers of google/rpc/status.proto and error_details.proto
    assert {f.name: f.number for f in RpcStatus.DESCRIPTOR.fields} == {"code": 1, "message": 2, "details": 3}
    assert {f.name: f.number for f in ErrorInfo.DESCRIPTOR.fields} == {
        "reason": 1,
        "domain": 2,
        "metadata": 3,
    }
