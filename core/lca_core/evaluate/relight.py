"""Relighting measured: held-out synthetic people, photographed in one light, shown in other, held-out lights.

In: people of the cell new identity x new garment. Out: a JSON-ready report. The truth is the generator's
person under the new light, self-occlusion and cast shadows included. Against it stand the avatar relit, the
avatar as photographed ("no relighting"), and the avatar as photographed with one gain per channel that is
fitted to the truth itself ("colour transfer": what a global correction can reach at best). Pose and cameras
are exact."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

CELL = "new-new"
INPUT_YAWS = (0.0, 90.0, 180.0, 270.0)
VIEW_YAWS = (25.0, -40.0, 150.0, -15.0)
KINDS = ("sky", "room", "stage", "points")
"""Where each new light is looked at from, and what kind it is, in turn: two kinds of environment, a group of
light-stage lamps over a dim ambient, point lights."""
METHODS = ("relit", "relit_matched", "colour_transfer", "no_relighting")
COST_HEIGHT, SMALL_HEIGHT = 512, 320
COST_ROUNDS = 31


@dataclass(frozen=True)
class RelightOptions:
    """Choices of a run: people, new lights per person, weights, picture side in pixels, seed, cell of
    ``lca_core.data.splits``."""

    people: int = 3
    lights: int = 4
    weights: str = "lca-xs"
    size: int = 224
    seed: int = 0
    cell: str = CELL


@dataclass
class Outcome:
    """One person: a row per new light and tiles for the sheet."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    albedo: dict[str, float] = field(default_factory=dict)
    cost: dict[int, dict[str, float]] = field(default_factory=dict)
    gaussians: int = 0
    tiles: list[tuple[str, NDArray[np.uint8]]] = field(default_factory=list)


def illumination_of(light: Any) -> Any:
    """A generator's light (:class:`lca_core.data.render.Light`) as the relighter takes it."""
    from lca_core.data.lights import radiance_sh
    from lca_core.relight.environment import Environment, directional, directions, point, sh_basis
    from lca_core.relight.light import Illumination

    sh = radiance_sh(light)
    d, _ = directions(32)
    lamps = [directional(at, rgb) for at, rgb in ((light.direction, light.rgb), *light.beams) if np.any(rgb)]
    lamps += [point(at, rgb) for at, rgb in light.points]
    found = Illumination.of(Environment(np.maximum(sh_basis(d) @ sh, 0), tuple(lamps)))
    # The picture is clipped at zero for the highlights only; shading takes the coefficients as they are.
    exact = Illumination.of_frame(sh.astype(np.float32))
    return Illumination(exact.sh, found.lamps, found.lobes, exact.ceiling)


def new_light(kind: str, rng: np.random.Generator, towards: NDArray) -> Any:
    """A held-out light of one of :data:`KINDS`; stage lamps stand on the camera's side (``towards`` (3,)),
    for a person lit from behind alone is black and every method but none right."""
    from lca_core.data import lights
    from lca_core.data.render import Light

    if kind == "points":
        return lights.point_lights(rng)
    if kind == "stage":
        group = lights.light_group(rng)
        while np.dot(group.direction, towards) < 0.2 or group.direction[1] < -0.3:
            group = lights.light_group(rng)
        return Light(lights.white(0.08).sh, group.direction, group.rgb, beams=group.beams)
    made = {"sky": lights.sky, "room": lights.room}[kind](rng).light()
    gain = rng.uniform(0.35, 0.6) / max(float(made.sh[0].mean() * 0.282 + 0.25 * made.rgb.mean()), 1e-3)
    return Light(made.sh * np.float32(gain), made.direction, made.rgb * np.float32(min(gain, 1.5)))


class Sitting:
    """One held-out person before the camera: ``inputs`` are photographs in one light, ``shot`` takes more in
    any other. ``rng`` draws what is new from there on."""

    def __init__(self, index: int, options: RelightOptions) -> None:
        from lca_core.data import lights, motion, uv_bake
        from lca_core.data.people import Person
        from lca_core.data.splits import cell_identity

        self.options = options
        self.rng = np.random.default_rng([options.seed, 77, index])
        self.person = Person(cell_identity(options.cell, index))
        self.scene = uv_bake.layered_scene(self.person)
        self.pose = motion.random_pose(self.rng, "a_pose")
        posed = self.person.posed(self.pose.joints, self.pose.transl, self.pose.expression, self.pose.gaze)
        self.scene.pose(posed)
        self.scene.set_transfer(self.scene.vertex_transfer(rays=48))
        self._target = posed[np.unique(self.person.faces)]
        self.light = lights.sample_light(self.rng)
        self.inputs = [self.shot(yaw, self.light) for yaw in INPUT_YAWS]

    def shot(self, yaw: float, light: Any) -> Any:
        """A photograph from ``yaw`` degrees off the front."""
        from lca_core.data.samples import background, fit_camera
        from lca_core.evaluate.synthetic import _Shot

        size = self.options.size
        k, viewmat = fit_camera(self._target, np.radians(yaw), 0.08, 3.5, size, size, 0.9, np.zeros(2))
        frame = self.scene.render(k, viewmat, size, size, light, samples=2)
        back = background(self.rng, size, size)
        mask = np.asarray(frame.coverage, np.float32)
        return _Shot(frame.composite(back), frame.composite(0.0), mask, k, viewmat, self.pose)

    def avatar(self) -> Any:
        """What creation makes of the photographs."""
        from lca_core.avatar.create import CreateOptions, create_avatar
        from lca_core.evaluate.synthetic import _capture
        from lca_core.model.checkpoint import load_model

        return create_avatar(
            _capture(self.inputs, self.person.betas), name="relight", model=load_model(self.options.weights),
            options=CreateOptions(texture_size=128), seed=self.options.seed,
        )  # fmt: skip


def judge(sitting: Sitting, avatar: Any) -> Outcome:
    """The avatar in new lights, beside the generator's truth."""
    import torch

    from lca_core.avatar.animate import Animator
    from lca_core.avatar.frame import PoseFrame
    from lca_core.avatar.light import to_linear, to_srgb
    from lca_core.splat import render

    options, pose, size = sitting.options, sitting.pose, sitting.options.size
    animator = Animator(avatar)
    frame = PoseFrame(pose.transl, pose.joints, pose.expression, pose.gaze)
    plain = animator.evaluate(frame)

    def draw(gaussians: Any, taken: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        image, alpha, _ = render(
            gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.colors(),
            torch.from_numpy(taken.viewmat.astype(np.float32))[None],
            torch.from_numpy(taken.k.astype(np.float32))[None], size, size,
        )  # fmt: skip
        return image[0].clamp(0, 1).numpy(), alpha[0, ..., 0].numpy()

    out = Outcome(tiles=[("photographed", sitting.inputs[0].over)])
    for number in range(options.lights):
        yaw, kind = VIEW_YAWS[number % len(VIEW_YAWS)], KINDS[number % len(KINDS)]
        around = np.radians(yaw)
        light = new_light(kind, sitting.rng, np.array([np.sin(around), 0, np.cos(around)]))
        truth = sitting.shot(yaw, light)
        real = truth.over.astype(np.float64) / 255
        eye = -truth.viewmat[:3, :3].T @ truth.viewmat[:3, 3]
        relit, _ = draw(animator.relighter.apply(plain, illumination_of(light), eye), truth)
        baked, alpha = draw(plain, truth)
        # Pixels of both: the outline's error is the same for all and would hide what is asked here.
        both = (truth.mask > 0.99) & (alpha > 0.9)

        def matched(image: NDArray, real: NDArray = real, both: NDArray = both) -> NDArray[np.float64]:
            x, y = to_linear(image), to_linear(real)
            gain = (x[both] * y[both]).sum(0) / np.maximum((x[both] ** 2).sum(0), 1e-9)
            return to_srgb(np.clip(x * gain, 0, 1))

        shown: dict[str, Any] = {"relit": relit, "relit_matched": matched(relit),
                                 "colour_transfer": matched(baked), "no_relighting": baked}  # fmt: skip
        row = {
            name: round(float(-10 * np.log10(np.square(image[both] - real[both]).mean())), 3)
            for name, image in shown.items()
        }
        gain = np.median(to_linear(real[both]).mean(-1)) / np.median(to_linear(relit[both]).mean(-1))
        out.rows.append(row | {"light": kind, "exposure_error": round(float(gain), 3)})
        out.tiles.append((f"{kind}: truth", truth.over))
        out.tiles += [
            (f"{name} {row[name]:.1f} dB", (np.clip(shown[name], 0, 1) * 255 + 0.5).astype(np.uint8))
            for name in ("relit", "colour_transfer", "no_relighting")
        ]
    return out


def evaluate_person(index: int, options: RelightOptions) -> Outcome:
    """Make and judge one person; the first one also tells what light costs."""
    import torch

    torch.set_num_threads(1)
    sitting = Sitting(index, options)
    avatar = sitting.avatar()
    out = judge(sitting, avatar)
    if index == 0:
        out.cost = {height: cost_of(avatar, height) for height in (COST_HEIGHT, SMALL_HEIGHT)}
        out.gaussians = avatar.gaussian_count
    return out


def cost_of(avatar: Any, height: int, rounds: int = COST_ROUNDS) -> dict[str, float]:
    """Median milliseconds of processor time of a frame, animated and rendered at ``height`` x 9/16 of it:
    without light, and with every kind of it in turn. The light of a pose frame is diffuse; an environment
    brings highlights, a sun and a near lamp a shadow each."""
    from lca_core.avatar.animate import Animator
    from lca_core.avatar.frame import PoseFrame
    from lca_core.avatar.pictures import STANDING, body_view, picture
    from lca_core.relight.environment import Environment, made, point
    from lca_core.relight.light import Illumination

    animator = Animator(avatar)
    frame = PoseFrame.posed(STANDING)
    view = body_view(animator, frame, 0.3, height)
    eye = -(view.viewmat[:3, :3].T @ view.viewmat[:3, 3]).numpy()
    studio = Illumination.of(made("studio"))
    lit = PoseFrame(frame.translation, frame.joint_rotations, frame.arkit, frame.gaze, studio.frame_light())
    near = Environment(made("overcast").radiance * 0.2, (point((0.8, 0.6, 1.5), (1.5, 1.4, 1.2)),))

    def lighted(light: Illumination) -> Callable[[], Any]:
        return lambda: animator.relighter.apply(animator.evaluate(frame), light, eye)

    ways: dict[str, Callable[[], Any]] = {
        "plain": lambda: animator.evaluate(frame),
        "frame_light": lambda: animator.evaluate(lit),
        "environment": lighted(studio),
        "sun": lighted(Illumination.of(made("noon"))),
        "near_lamp": lighted(Illumination.of(near)),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 2):
        for name, way in ways.items():
            start = time.process_time()
            picture(way(), view)
            if turn > 1:
                times[name].append(1e3 * (time.process_time() - start))
    return {name: round(float(np.median(taken)), 3) for name, taken in times.items()}


def ratios(cost: dict[str, float]) -> dict[str, float]:
    """Every kind of light over none."""
    return {name: round(ms / cost["plain"], 3) for name, ms in cost.items() if name != "plain"}


def evaluate_relight(
    options: RelightOptions | None = None, progress: Callable[[str], None] | None = None
) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """All people, one after another.

    Returns:
        The report (docs/relighting.md) and a sheet, one person a row, uint8 [H,W,3].
    """
    from lca_core.avatar.pictures import fit_height, sheet

    options = options or RelightOptions()
    tell = progress or (lambda line: None)
    start, cpu = time.perf_counter(), time.process_time()
    people = []
    for index in range(options.people):
        people.append(evaluate_person(index, options))
        tell(f"person {index + 1} of {options.people}: {people[-1].rows}")
    rows = [row for person in people for row in person.rows]
    mean = {name: round(float(np.mean([row[name] for row in rows])), 3) for name in METHODS}
    cost = people[0].cost
    big, small = ratios(cost[COST_HEIGHT]), ratios(cost[SMALL_HEIGHT])
    report: dict[str, Any] = {
        "protocol": "relight",
        "relight_gain_psnr": round(mean["relit"] - mean["no_relighting"], 3),
        "gain_over_colour_transfer_psnr": round(mean["relit"] - mean["colour_transfer"], 3),
        "matched_gain_over_colour_transfer_psnr": round(mean["relit_matched"] - mean["colour_transfer"], 3),
        "cost_ratio": max(big.values()),
        "cost_ratio_320": max(small.values()),
        "cost_ratios": big,
        "cost_ratios_320": small,
        "psnr": mean,
        "by_light": {
            kind: {
                name: round(float(np.mean([row[name] for row in rows if row["light"] == kind])), 3)
                for name in METHODS
            }
            for kind in KINDS[: options.lights]
        },
        "rows": rows,
        "cost_ms": {str(height): taken for height, taken in cost.items()},
        "gaussians": people[0].gaussians,
        "people": options.people,
        "lights_per_person": options.lights,
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }
    return report, sheet([[(t, fit_height(image, 200)) for t, image in p.tiles] for p in people])
