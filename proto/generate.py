"""Regenerates the committed Python code of ``lca.v1`` from the .proto files beside it.

Run it with a Python that has ``grpcio-tools==1.62.3`` (protoc 25): code from that version imports under every
protobuf from 4.25 to 7.x, newer generators lock older Blender installations out. Best in a throw-away
environment:

    python3.11 -m venv GEN && GEN/bin/pip install grpcio-tools==1.62.3 'setuptools<80'
    GEN/bin/python proto/generate.py
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

TOOLS_VERSION = "1.62.3"


def main() -> int:
    """Write ``*_pb2.py``, ``*_pb2.pyi`` and (for services) ``*_pb2_grpc.py`` next to the protos."""
    root = Path(__file__).resolve().parent
    if version("grpcio-tools") != TOOLS_VERSION:
        print(f"grpcio-tools {TOOLS_VERSION} is needed, not {version('grpcio-tools')}.", file=sys.stderr)
        return 2
    import grpc_tools
    from grpc_tools import protoc

    well_known = Path(grpc_tools.__file__).parent / "_proto"
    protos = sorted(str(p.relative_to(root)) for p in (root / "lca" / "v1").glob("*.proto"))
    code = protoc.main(
        ["protoc", f"-I{root}", f"-I{well_known}", f"--python_out={root}", f"--pyi_out={root}", *protos]
    )
    services = [p for p in protos if p.endswith("_service.proto")]
    return code or protoc.main(
        ["protoc", f"-I{root}", f"-I{well_known}", f"--grpc_python_out={root}", *services]
    )


if __name__ == "__main__":
    raise SystemExit(main())
