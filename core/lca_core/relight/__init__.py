"""Relighting: environment pictures and lamps in, new colours of posed Gaussians out (docs/relighting.md).

`hdr` reads pictures, `environment` turns them, `light` makes of them what shading needs, `transfer` finds how
each Gaussian sees the sky, `estimate` judges the photographs' light, `shade` puts the new light on.
Arrays in, arrays out: this room knows ``splat`` and no avatar file.
"""
