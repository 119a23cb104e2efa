"""The GPU core of LCA Bridge: capture -> model -> avatar -> animate -> splat. Importing it imports no
torch.
"""
