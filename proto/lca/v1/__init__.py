"""Generated code of the `lca.v1` protocol; the .proto files beside it are the source (see proto/generate.py)."""
