"""Public contract of LCA Bridge: error hierarchy (``lca.errors``) and protocol (``lca.v1``)."""
