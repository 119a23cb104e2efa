"""Training of the LCA network: stage A (UV supervision) with a time budget, evaluation and model cards."""
