"""The proxy mesh on a stage: a skinned, textured triangle mesh with the same 52 shapes as the splats.

It serves selection, shadows, physics and every tool that knows no splats; the Apple preset is this mesh
alone.
"""

from __future__ import annotations

import numpy as np
from pxr import Sdf, Usd, UsdGeom, UsdShade

from lca_usd import arrays, skeleton
from lca_usd.asset import Mesh

PROXY = "/Avatar/Geom/Proxy"
LOOKS = "/Avatar/Looks"


def define_proxy(stage: Usd.Stage, mesh: Mesh, texture: str | None) -> UsdGeom.Mesh:
    """``Geom/Proxy`` with normals, st, skin, shapes and its material.

    Args:
        texture: asset path of the texture as the stage shall name it, or None for plain grey.
    """
    prim = UsdGeom.Mesh.Define(stage, PROXY)
    prim.CreatePointsAttr(arrays.vec3f(mesh.vertices))
    prim.CreateFaceVertexCountsAttr(arrays.ints(np.full(len(mesh.faces), 3)))
    prim.CreateFaceVertexIndicesAttr(arrays.ints(mesh.faces))
    prim.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    prim.CreateNormalsAttr(arrays.vec3f(mesh.normals))
    prim.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    prim.CreateExtentAttr(arrays.bounds(mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)))
    st = UsdGeom.PrimvarsAPI(prim).CreatePrimvar(
        "st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.faceVarying
    )
    st.Set(arrays.vec2f(mesh.uvs))
    st.SetIndices(arrays.ints(mesh.face_uvs))
    shapes = []
    UsdGeom.Scope.Define(stage, f"{PROXY}/shapes")
    for shape in mesh.shapes:
        path = Sdf.Path(f"{PROXY}/shapes/{shape.name}")
        skeleton.define_blend_shape(stage, path, shape.index, shape.offsets)
        shapes.append((shape.name, path))
    skeleton.bind(prim.GetPrim(), mesh.joint_indices, mesh.joint_weights, shapes)
    material = define_material(stage, texture)
    UsdShade.MaterialBindingAPI.Apply(prim.GetPrim()).Bind(material)
    return prim


def define_material(stage: Usd.Stage, texture: str | None) -> UsdShade.Material:
    """A rough UsdPreviewSurface that shows the sRGB texture over ``st``."""
    UsdGeom.Scope.Define(stage, LOOKS)
    material = UsdShade.Material.Define(stage, f"{LOOKS}/ProxyMaterial")
    path = material.GetPath()
    types = Sdf.ValueTypeNames
    surface = UsdShade.Shader.Define(stage, path.AppendChild("Surface"))
    surface.CreateIdAttr("UsdPreviewSurface")
    surface.CreateInput("roughness", types.Float).Set(0.8)
    surface.CreateInput("metallic", types.Float).Set(0.0)
    colour = surface.CreateInput("diffuseColor", types.Color3f)
    material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", types.Token))
    if texture is None:
        colour.Set((0.5, 0.5, 0.5))
        return material
    reader = UsdShade.Shader.Define(stage, path.AppendChild("UvReader"))
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", types.String).Set("st")
    image = UsdShade.Shader.Define(stage, path.AppendChild("Texture"))
    image.CreateIdAttr("UsdUVTexture")
    image.CreateInput("file", types.Asset).Set(Sdf.AssetPath(texture))
    image.CreateInput("sourceColorSpace", types.Token).Set("sRGB")
    image.CreateInput("wrapS", types.Token).Set("clamp")
    image.CreateInput("wrapT", types.Token).Set("clamp")
    image.CreateInput("st", types.Float2).ConnectToSource(reader.CreateOutput("result", types.Float2))
    colour.ConnectToSource(image.CreateOutput("rgb", types.Float3))
    return material
