"""UsdSkel authoring: the skeleton at rest, its animation, and the binding of a prim to it.

Joint tokens are paths of SMPL-X names (``pelvis/left_hip/...``) in SMPL-X order, which UsdSkel accepts as it
is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pxr import Gf, Sdf, Usd, UsdGeom, UsdSkel, Vt

from lca_usd import arrays
from lca_usd.asset import Asset
from lca_usd.motion import SkelFrames
from lca_usd.rig import author_joint_hints

RIG = "/Avatar/Rig"
SKELETON = f"{RIG}/Skeleton"
ANIMATION = f"{RIG}/Anim"


def joint_tokens(names: Sequence[str], parents: Sequence[int]) -> list[str]:
    """Joint names and parents -> UsdSkel joint paths in the same order."""
    paths: list[str] = []
    for name, parent in zip(names, parents):
        paths.append(name if parent < 0 else f"{paths[parent]}/{name}")
    return paths


def define_skeleton(stage: Usd.Stage, asset: Asset) -> UsdSkel.Skeleton:
    """The 55-joint skeleton: world-aligned joints, so bind and rest matrices are pure translations."""
    skeleton = UsdSkel.Skeleton.Define(stage, SKELETON)
    skeleton.CreateJointsAttr(Vt.TokenArray(joint_tokens(asset.rig.joint_names, asset.rig.joint_parents)))
    skeleton.CreateBindTransformsAttr(
        Vt.Matrix4dArray([arrays.translation_matrix(joint) for joint in asset.joints])
    )
    skeleton.CreateRestTransformsAttr(
        Vt.Matrix4dArray([arrays.translation_matrix(joint) for joint in asset.local_joints])
    )
    skeleton.CreatePurposeAttr(UsdGeom.Tokens.guide)
    author_joint_hints(skeleton.GetPrim(), asset.rig)
    binding = UsdSkel.BindingAPI.Apply(skeleton.GetPrim())
    binding.CreateAnimationSourceRel().SetTargets([Sdf.Path(ANIMATION)])
    return skeleton


def define_rest_animation(stage: Usd.Stage, asset: Asset, frames: SkelFrames) -> UsdSkel.Animation:
    """The default animation: one rest frame of joints and shape weights, as default values."""
    animation = UsdSkel.Animation.Define(stage, ANIMATION)
    animation.CreateJointsAttr(Vt.TokenArray(joint_tokens(asset.rig.joint_names, asset.rig.joint_parents)))
    animation.CreateBlendShapesAttr(Vt.TokenArray(list(frames.shape_names)))
    animation.CreateScalesAttr(arrays.vec3h(np.ones((len(asset.joints), 3))))
    animation.CreateRotationsAttr(arrays.quatf(frames.rotations[0]))
    animation.CreateTranslationsAttr(arrays.vec3f(frames.translations[0]))
    animation.CreateBlendShapeWeightsAttr(arrays.floats(frames.weights[0]))
    return animation


def author_samples(animation: UsdSkel.Animation, frames: SkelFrames) -> None:
    """Time samples 0..T-1 of joints and shape weights on ``animation``."""
    rotations, translations = animation.CreateRotationsAttr(), animation.CreateTranslationsAttr()
    weights = animation.CreateBlendShapeWeightsAttr()
    for frame in range(len(frames)):
        rotations.Set(arrays.quatf(frames.rotations[frame]), frame)
        translations.Set(arrays.vec3f(frames.translations[frame]), frame)
        weights.Set(arrays.floats(frames.weights[frame]), frame)


def bind(
    prim: Usd.Prim,
    joint_indices: npt.NDArray[Any],
    joint_weights: npt.NDArray[Any],
    shapes: Sequence[tuple[str, Sdf.Path]] = (),
) -> UsdSkel.BindingAPI:
    """Bind a prim to the skeleton that its SkelRoot names.

    Args:
        joint_indices, joint_weights: (N,4), heaviest first.
        shapes: (name, path of its BlendShape prim), in the order of the prim's own channel list.
    """
    binding = UsdSkel.BindingAPI.Apply(prim)
    width = joint_indices.shape[1]
    binding.CreateJointIndicesPrimvar(False, width).Set(arrays.ints(joint_indices))
    binding.CreateJointWeightsPrimvar(False, width).Set(arrays.floats(joint_weights))
    binding.CreateGeomBindTransformAttr(Gf.Matrix4d(1.0))
    if shapes:
        binding.CreateBlendShapesAttr(Vt.TokenArray([name for name, _ in shapes]))
        binding.CreateBlendShapeTargetsRel().SetTargets([path for _, path in shapes])
    return binding


def define_blend_shape(
    stage: Usd.Stage, path: Sdf.Path, index: npt.NDArray[Any], offsets: npt.NDArray[Any]
) -> UsdSkel.BlendShape:
    """A sparse BlendShape: (S,) point numbers and (S,3) offsets in metres.

    UsdSkel takes an empty index list for "all points", so a shape that moves nothing gets one zero row.
    """
    shape = UsdSkel.BlendShape.Define(stage, path)
    if len(index) == 0:
        index, offsets = np.zeros(1, np.int32), np.zeros((1, 3), np.float32)
    shape.CreatePointIndicesAttr(arrays.ints(index))
    shape.CreateOffsetsAttr(arrays.vec3f(offsets))
    return shape
