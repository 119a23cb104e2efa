"""Synthetic dressed adults from a CC0 asset pack, with exact ground truth for training.

``people`` draws and dresses a person, ``render`` ray-casts it, ``uv_bake`` gives the truth on the UV grid,
``samples`` puts both together. Commands: ``generate``, ``preview``, ``sample_clip``, ``build_assets``.
"""
