"""Inside Blender: the splat preview against a plain reference, and the scene's light against Cycles."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
import gpu
import numpy as np
import pytest
from mathutils import Matrix, Vector

sys.path.insert(0, str(Path(__file__).parents[3] / "blender_addon"))

from lca_avatars.bl import compat, frames_cloud, importer, preview, scene_light
from lca_avatars.core import light as sums
from lca_avatars.core.splat_view import SH_C0

WIDTH, HEIGHT = 96, 128
BACKGROUND = 0.25


def evaluated(cloud: bpy.types.Object) -> list[np.ndarray]:
    """Centres, orientations, sizes, colour and opacity as shown now."""
    data = cloud.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    return [compat.read_attribute(data, name) for name in ("position", "rotation", "scale", "radiance:base")]


def camera(perspective: bool) -> bpy.types.Object:
    """On the person's front, a little from the side; off-centre, so that lens shift counts."""
    data = bpy.data.cameras.new("Camera")
    data.type, data.ortho_scale, data.lens = ("PERSP" if perspective else "ORTHO"), 2.2, 40.0
    data.shift_x = 0.05
    found = bpy.data.objects.new("Camera", data)
    bpy.context.scene.collection.objects.link(found)
    found.location = (0.5, -3.0, 0.3)
    found.rotation_euler = (Vector((0.0, 0.0, -0.3)) - found.location).to_track_quat("-Z", "Y").to_euler()
    bpy.context.view_layer.update()
    return found


def reference(splats: list[np.ndarray], view: np.ndarray, projection: np.ndarray) -> np.ndarray:
    """(H, W, 3), rows from the bottom up: every splat's projected Gaussian, from far to near."""
    means, quats, scales, base = (values.astype(np.float64) for values in splats)
    eye = means @ view[:3, :3].T + view[:3, 3]
    image = np.full((HEIGHT, WIDTH, 3), BACKGROUND)
    ys, xs = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    half = np.array([WIDTH, HEIGHT]) / 2

    def pixels(points: np.ndarray) -> np.ndarray:
        clip = np.concatenate([points, np.ones((len(points), 1))], 1) @ projection.T
        return (clip[:, :2] / clip[:, 3:] + 1) * half

    for i in np.argsort(eye[:, 2]):
        w, x, y, z = quats[i]
        turn = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        step = 1e-5  # the map to pixels is bent: its slope by differences
        jacobian = (pixels(eye[i] + step * np.eye(3)) - pixels(eye[i] - step * np.eye(3))).T / (2 * step)
        axes = jacobian @ view[:3, :3] @ turn * scales[i]
        inverse = np.linalg.inv(axes @ axes.T + 0.3 * np.eye(2))
        (middle,) = pixels(eye[i : i + 1])
        dx, dy = xs - middle[0], ys - middle[1]
        power = inverse[0, 0] * dx * dx + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy * dy
        alpha = (base[i, 3] * np.exp(-0.5 * power))[..., None]
        image += alpha * (np.clip(0.5 + SH_C0 * base[i, :3], 0, 1) - image)
    return image


def drawn(rig: bpy.types.Object, view: Matrix, projection: Matrix) -> np.ndarray:
    """(H, W, 3), rows from the bottom up, what the preview draws into an off-screen picture."""
    screen = gpu.types.GPUOffScreen(WIDTH, HEIGHT, format="RGBA16F")
    with screen.bind():
        buffer = gpu.state.active_framebuffer_get()
        buffer.clear(color=(BACKGROUND, BACKGROUND, BACKGROUND, 1.0), depth=1.0)
        depsgraph = bpy.context.evaluated_depsgraph_get()
        cloud = importer.part(rig, "splats")
        count = preview.draw(cloud, depsgraph, view, projection, (WIDTH, HEIGHT))
        assert count == len(cloud.data.points)
        pixels = buffer.read_color(0, 0, WIDTH, HEIGHT, 4, 0, "FLOAT")
    pixels.dimensions = WIDTH * HEIGHT * 4
    screen.free()
    return np.array(pixels, np.float64).reshape(HEIGHT, WIDTH, 4)[..., :3]


@pytest.mark.skipif(
    not hasattr(gpu, "init"), reason="this Blender draws with the GPU in a window only (5.2 can without)"
)
@pytest.mark.parametrize("perspective", [True, False])
def test_the_preview_is_the_projected_gaussians(rig: bpy.types.Object, perspective: bool) -> None:
    gpu.init()
    assert bpy.ops.lca.preview(on=True) == {"FINISHED"}
    rig.pose.bones["forearm_fk.L"].rotation_quaternion = (0.9, 0.43589, 0.0, 0.0)
    rig["jawOpen"] = 0.7
    cloud, eye = importer.part(rig, "splats"), camera(perspective)
    rig.update_tag()
    depsgraph = bpy.context.evaluated_depsgraph_get()
    projection = eye.calc_matrix_camera(depsgraph, x=WIDTH, y=HEIGHT)
    view = eye.matrix_world.inverted()
    picture = drawn(rig, view, projection)
    wanted = reference(evaluated(cloud), np.array(view @ cloud.matrix_world), np.array(projection))
    body = np.abs(wanted - BACKGROUND).max(-1) > 0.02
    assert body.mean() > 0.08
    error = np.abs(picture - wanted)
    assert error.max() < 0.05 and error[body].mean() < 0.004, (error.max(), error[body].mean())

    # Drawn again from behind: the order follows the view.
    behind = Matrix.Rotation(np.pi, 4, "Z") @ eye.matrix_world
    view = behind.inverted()
    wanted = reference(evaluated(cloud), np.array(view @ cloud.matrix_world), np.array(projection))
    error = np.abs(drawn(rig, view, projection) - wanted)
    assert error.max() < 0.05, error.max()
    preview.stop()


def test_preview_hands_drawing_over_and_back(rig: bpy.types.Object) -> None:
    cloud = importer.part(rig, "splats")
    assert bpy.ops.lca.preview(on=True) == {"FINISHED"}
    assert rig[preview.SHOWN] and cloud.display_type == "BOUNDS" and not cloud.hide_viewport
    assert frames_cloud.show(rig).display_type == "BOUNDS", "frames of a service are drawn the same way"
    assert bpy.ops.lca.preview(on=False) == {"FINISHED"}
    assert not rig[preview.SHOWN]
    assert cloud.display_type == frames_cloud.shown(rig).display_type == "TEXTURED"


def white_plane(normal: Vector) -> None:
    """A matt white plane in the origin that faces ``normal``, seen square on; direct light only."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    bpy.ops.mesh.primitive_plane_add(size=1.0)
    plane = bpy.context.object
    plane.rotation_euler = normal.to_track_quat("Z", "Y").to_euler()
    matt = bpy.data.materials.new("white")
    tree = compat.shader_tree(matt)
    tree.nodes.clear()
    diffuse = tree.nodes.new("ShaderNodeBsdfDiffuse")
    diffuse.inputs["Color"].default_value = (1.0, 1.0, 1.0, 1.0)
    tree.links.new(diffuse.outputs[0], tree.nodes.new("ShaderNodeOutputMaterial").inputs["Surface"])
    plane.data.materials.append(matt)
    scene.camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(scene.camera)
    scene.camera.data.type, scene.camera.data.ortho_scale = "ORTHO", 0.02
    scene.camera.location = 0.3 * normal
    scene.camera.rotation_euler = (-normal).to_track_quat("-Z", "Y").to_euler()
    scene.render.engine, scene.render.resolution_x, scene.render.resolution_y = "CYCLES", 4, 4
    scene.cycles.samples, scene.cycles.use_denoising, scene.cycles.max_bounces = 256, False, 0


def leaving(folder: Path) -> np.ndarray:
    """Mean radiance (3,) of the picture."""
    scene = bpy.context.scene
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.filepath = str(folder / "plane.exr")
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(scene.render.filepath)
    pixels = np.empty(4 * 4 * 4, np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    return pixels.reshape(-1, 4)[:, :3].mean(0)


@pytest.mark.parametrize("kind", ["SUN", "POINT", "SPOT", "AREA"])
def test_a_lamp_throws_what_cycles_says(kind: str, tmp_path: Path) -> None:
    white_plane(Vector((0.0, 0.0, 1.0)))
    data = bpy.data.lights.new("Lamp", kind)
    data.energy, data.color = (3.0 if kind == "SUN" else 40.0), (1.0, 0.6, 0.3)
    if hasattr(data, "exposure"):
        data.exposure = 0.5
    if kind == "SPOT":
        data.spot_size, data.spot_blend = 0.9, 0.4
    if kind == "AREA":
        data.size = 0.1
    lamp = bpy.data.objects.new("Lamp", data)
    bpy.context.scene.collection.objects.link(lamp)
    lamp.location = (0.5, 0.2, 1.2)
    # Not quite at the plane: cones and cosines count.
    lamp.rotation_euler = (Vector((0.2, 0.3, 0.0)) - lamp.location).to_track_quat("-Z", "Y").to_euler()
    bpy.context.view_layer.update()
    (mine,) = scene_light.lamps(bpy.context.scene)
    towards, irradiance = sums.arriving(mine, np.zeros(3))
    wanted = leaving(tmp_path)
    assert wanted.min() > 0.02
    assert np.abs(irradiance * towards[2] / np.pi / wanted - 1).max() < 0.03, (irradiance, wanted)


def test_the_world_lights_as_cycles_says(tmp_path: Path) -> None:
    """A picture without bands above the first: order 2 holds all of it. Turned by a Mapping node."""
    height, width = 32, 64
    latitude = ((np.arange(height) + 0.5) / height - 0.5) * np.pi
    turn = (0.5 - (np.arange(width) + 0.5) / width) * 2 * np.pi
    x = np.cos(latitude)[:, None] * np.cos(turn)
    z = np.broadcast_to(np.sin(latitude)[:, None], x.shape)
    picture = np.stack([1.0 + 0.8 * x, 1.0 + 0.8 * z, 1.0 - 0.5 * x, np.ones_like(x)], -1)
    for i, normal in enumerate((Vector((0.0, 0.0, 1.0)), Vector((0.7, -0.7, 0.1)).normalized())):
        white_plane(normal)
        image = bpy.data.images.new(f"sky{i}", width, height, float_buffer=True)
        image.pixels.foreach_set(picture.astype(np.float32).reshape(-1))
        world = bpy.data.worlds.new("World")
        bpy.context.scene.world = world
        world.cycles.sampling_method, world.cycles.sample_map_resolution = "MANUAL", 64
        tree = compat.shader_tree(world)
        background = next(node for node in tree.nodes if node.type == "BACKGROUND")
        background.inputs["Strength"].default_value = 0.7
        sky, mapping, where = (
            tree.nodes.new(name)
            for name in ("ShaderNodeTexEnvironment", "ShaderNodeMapping", "ShaderNodeTexCoord")
        )
        sky.image = image
        mapping.inputs["Rotation"].default_value = (0.2, 0.0, 1.1)
        for output, socket in (
            (where.outputs["Generated"], mapping.inputs["Vector"]),
            (mapping.outputs["Vector"], sky.inputs["Vector"]),
            (sky.outputs["Color"], background.inputs["Color"]),
        ):
            tree.links.new(output, socket)
        light = scene_light.world_light(world)
        bands = np.array([1.0] + [2 / 3] * 3 + [1 / 4] * 5)  # Lambert's cosine over pi, per harmonic
        mine = sums.harmonics(np.array(normal)) * bands @ light
        wanted = leaving(tmp_path)
        assert np.abs(mine / wanted - 1).max() < 0.02, (mine, wanted)


def test_scene_light_is_asked_for(rig: bpy.types.Object) -> None:
    scene = bpy.context.scene
    assert scene_light.frame_light(rig, scene) is None
    rig[scene_light.FOLLOW] = True
    assert not scene_light.frame_light(rig, scene).any(), "no lamp and no world: darkness"
    scene.world = bpy.data.worlds.new("World")
    background = next(n for n in compat.shader_tree(scene.world).nodes if n.type == "BACKGROUND")
    background.inputs["Color"].default_value = (0.2, 0.4, 0.8, 1.0)
    background.inputs["Strength"].default_value = 2.0
    lit = scene_light.frame_light(rig, scene)
    assert lit.shape == (9, 3) and np.abs(lit[1:]).max() < 1e-6
    assert np.allclose(lit[0] * 0.28209479, [0.4, 0.8, 1.6], rtol=1e-5), "radiance from everywhere"
    sun = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    scene.collection.objects.link(sun)
    bpy.context.view_layer.update()
    change = scene_light.frame_light(rig, scene) - lit
    assert change[1, 0] < -0.4 and np.abs(change[3, 0]) < 1e-5, "a sun from above comes from the avatar's +Y"
