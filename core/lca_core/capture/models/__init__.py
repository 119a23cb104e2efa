"""The vendored landmark networks: data files only, checked against ``SHA256SUMS`` before first use."""
