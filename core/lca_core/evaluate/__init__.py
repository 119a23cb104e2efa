"""Evaluation: how well an avatar shows a person in views it was not made from. Protocols in
docs/evaluation.md."""
