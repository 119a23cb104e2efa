"""The avatar: what creation makes, what the `.lca` file stores, and how a pose moves it.

Light to import; the modules behind it (`create`, `animate`, `pictures`) load torch and numba when they are
used.
"""

from lca_core.avatar.avatar import (
    Avatar,
    Canonical,
    Correctives,
    Proxy,
    Relight,
    Skinning,
    WeightsInfo,
)
from lca_core.avatar.frame import Motion, PoseFrame

__all__ = [
    "Avatar",
    "Canonical",
    "Correctives",
    "Motion",
    "PoseFrame",
    "Proxy",
    "Relight",
    "Skinning",
    "WeightsInfo",
]
