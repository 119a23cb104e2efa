"""Which joint of a foreign skeleton is which of ours, by name.

In: joint names and parents of any rig. Out: our joint names to theirs. The table covers Mixamo, Rokoko,
MotionBuilder, CMU, 3ds Max biped, Unreal, Blender (Rigify, ``.L``), and plain names; prefixes, case, blanks
and punctuation do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lca.errors import InvalidInputError
from lca.motion.skeleton import JOINTS

MIDDLE: dict[str, tuple[str, ...]] = {
    "pelvis": ("hips", "hip", "pelvis", "root", "reference", "bip01pelvis", "torso"),
    "neck": ("neck", "neck1", "neck01", "lowerneck", "upperneck", "neck2"),
    "head": ("head", "head1"),
    "jaw": ("jaw",),
}
SPINE = (
    "spine", "spine0", "spine1", "spine2", "spine3", "spine4", "spine5", "spine01", "spine02", "spine03",
    "spine04", "spine05", "spine001", "spine002", "spine003", "chest", "chest1", "chest2", "chest3", "chest4",
    "lowerback", "abdomen", "abdomen2", "upperchest", "torso", "lowertorso", "uppertorso", "spinelower",
    "spinemid", "spineupper", "thorax",
)  # fmt: skip
"""Names of spine joints; their order along the chain decides, not their numbers."""
SIDED: dict[str, tuple[str, ...]] = {
    "hip": ("upleg", "thigh", "upperleg", "hip", "legupper", "femur", "hipjoint2", "leg1"),
    "knee": ("leg", "knee", "lowerleg", "calf", "shin", "leglower", "lowleg", "tibia"),
    "ankle": ("foot", "ankle"),
    "foot": ("toebase", "toe", "toe0", "ball", "toes"),
    "collar": ("shoulder", "collar", "clavicle", "collarbone", "shldr"),
    "shoulder": ("arm", "upperarm", "uparm", "shoulder", "armupper", "humerus", "shldr"),
    "elbow": ("forearm", "elbow", "lowerarm", "lowarm", "armlower", "radius"),
    "wrist": ("hand", "wrist"),
    "eye_smplhf": ("eye",),
}
_FINGERS = {
    "index": ("index", "handindex", "findex"),
    "middle": ("middle", "handmiddle", "fmiddle", "mid"),
    "pinky": ("pinky", "handpinky", "fpinky", "little", "handlittle"),
    "ring": ("ring", "handring", "fring"),
    "thumb": ("thumb", "handthumb"),
}
REQUIRED = (
    "pelvis",
    *(f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "shoulder", "elbow")),
)
"""Without these there is no body to move."""

_PREFIX = re.compile(r"^(mixamorig\d*|character\d*|bip\d*|biped\d*|def|org|cc_base|genesis\d*)[_ .\-]+", re.I)


def plain(name: str) -> tuple[str, str]:
    """(side, name) without prefix, punctuation and case; side is "left", "right" or "".

    ``mixamorig:LeftUpLeg`` -> ("left", "upleg"); ``upper_arm.L`` -> ("left", "upperarm").
    """
    name = re.split(r"[:|]", name)[-1].strip()
    name = _PREFIX.sub("", name)
    side = ""
    for pattern in (
        r"^(left|right)[_. -]?",
        r"^([LlRr])[_. -]",
        r"^([LRlr])(?=[A-Z])",
        r"[_. -]([LlRr]|left|right|Left|Right)$",
        r"(?<=[a-z0-9])(Left|Right|_l|_r)$",
        r"^([lr])(?=(hip|hand|foot|knee|elbow|wrist|ankle|shoulder|thigh|shin|toe|thumb|collar|clavicle|femur)|shldr)",
    ):
        found = re.search(pattern, name, re.IGNORECASE if pattern.startswith("^(left") else 0)
        if found:
            mark = found.group(1).lower().strip("_")
            side = "left" if mark.startswith("l") else "right"
            name = name[: found.start()] + name[found.end() :]
            break
    else:
        # Unreal and others put the side between the words: "upperarm_l_twist" is left out on purpose.
        found = re.search(r"[_. ]([LRlr])[_. ](?=\d*$)", name)
        if found:
            side = "left" if found.group(1).lower() == "l" else "right"
            name = name[: found.start()] + name[found.end() :]
    return side, re.sub(r"[^a-z0-9]", "", name.lower())


def match_joints(names: Sequence[str], parents: Sequence[int], source: str = "") -> dict[str, int]:
    """Our joint name -> index of theirs, for every joint that is recognised.

    Raises:
        InvalidInputError: ``UNKNOWN_SKELETON``; a required joint is missing. The message lists the missing
            joints and the names that matched nothing.
    """
    parts = [plain(name) for name in names]
    found: dict[str, int] = {}
    used: set[int] = set()

    def below(child: int, ancestor: int) -> bool:
        while child >= 0:
            if child == ancestor:
                return True
            child = parents[child]
        return False

    def claim(ours: str, side: str, wanted: Sequence[str], under: str | None = None) -> None:
        roof = found.get(under) if under else None
        for alias in wanted:
            for j, (mark, name) in enumerate(parts):
                free = j not in used and mark == side and name == alias
                if free and (roof is None or (j != roof and below(j, roof))):
                    found[ours] = j
                    used.add(j)
                    return

    claim("pelvis", "", MIDDLE["pelvis"])
    for side in ("left", "right"):
        # From the far ends inwards, because "shoulder" and "hip" mean a joint or its parent.
        for ours in ("wrist", "elbow", "ankle", "knee"):
            claim(f"{side}_{ours}", side, SIDED[ours])
        _claim_above(found, used, parts, parents, side, "shoulder", "elbow")
        _claim_above(found, used, parts, parents, side, "hip", "knee")
        _claim_above(found, used, parts, parents, side, "collar", "shoulder")
        claim(f"{side}_foot", side, SIDED["foot"], f"{side}_ankle")
        claim(f"{side}_eye_smplhf", side, SIDED["eye_smplhf"])
        for ours, aliases in _FINGERS.items():
            hand = f"{side}_wrist"
            for k in (1, 2, 3):
                numbered = [f"{a}{form}" for a in aliases for form in (f"{k}", f"0{k}", f"phalanx{k}")]
                claim(f"{side}_{ours}{k}", side, numbered, hand)
            if f"{side}_{ours}1" not in found:  # Blender and others: proximal, intermediate, distal
                for k, word in enumerate(("proximal", "intermediate", "distal"), 1):
                    claim(f"{side}_{ours}{k}", side, [f"{a}{word}" for a in aliases], hand)
    claim("head", "", MIDDLE["head"])
    claim("neck", "", MIDDLE["neck"])
    claim("jaw", "", MIDDLE["jaw"])
    _claim_spine(found, used, parts, parents)
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        strange = [names[j] for j in range(len(names)) if j not in used]
        raise InvalidInputError(
            f"{source or 'This skeleton'} has no joint we recognise as {', '.join(missing)}. Joints that "
            f"match no known name: {', '.join(strange[:60]) or 'none'}. Rename them in the Mixamo way (Hips, "
            "LeftUpLeg, LeftArm, ...) and try again.",
            reason="UNKNOWN_SKELETON",
            metadata={"missing": ",".join(missing), "unmatched": ",".join(strange[:200])},
        )
    return {name: found[name] for name in JOINTS if name in found}


def _claim_above(
    found: dict[str, int],
    used: set[int],
    parts: Sequence[tuple[str, str]],
    parents: Sequence[int],
    side: str,
    ours: str,
    child: str,
) -> None:
    """Claim the nearest recognised ancestor of an already found joint."""
    below = f"{side}_{child}"
    if below not in found:
        return
    j = parents[found[below]]
    while j >= 0:
        mark, name = parts[j]
        if j not in used and mark == side and name in SIDED[ours]:
            found[f"{side}_{ours}"] = j
            used.add(j)
            return
        j = parents[j]


def _claim_spine(
    found: dict[str, int],
    used: set[int],
    parts: Sequence[tuple[str, str]],
    parents: Sequence[int],
) -> None:
    """Spread the joints between pelvis and neck over our three spine joints."""
    top = next((found[k] for k in ("neck", "left_collar", "left_shoulder", "head") if k in found), None)
    if top is None or "pelvis" not in found:
        return
    pelvis, j, chain = found["pelvis"], parents[top], list[int]()
    while j >= 0 and j != pelvis:
        if j not in used and parts[j][0] == "" and parts[j][1] in SPINE:
            chain.insert(0, j)
        j = parents[j]
    used.update(chain)
    for k, ours in enumerate(("spine1", "spine2", "spine3")):
        if chain:
            found[ours] = chain[round(k * (len(chain) - 1) / 2)]
