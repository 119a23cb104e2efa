"""Trains the estimate of the photographs' light: ``lca train relight``.

In: synthetic people of the training split in drawn lights (`relight_examples`). Out: ``light.safetensors``
for `lca_core.relight.estimate`, with a model card. Loss: the albedo that is left after dividing by the
predicted light, against the true one, as a screen shows it and in stops. Some minutes on one core; a run that
was stopped goes on at its last thousand steps and ends in the same weights.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from lca.errors import InvalidInputError
from lca_core.data.people import SPLITS
from lca_core.data.render import linear_to_srgb
from lca_core.relight import estimate
from lca_core.relight.estimate import Cells, LightEstimator, shading
from lca_core.train.relight_examples import LitPerson, stored_people

BATCH, CELLS = 16, 500
"""People in a step, and cells drawn of each."""
SAVE_EVERY = 1000
STOPS = 0.02
"""Weight of the error in stops beside the squared error on a screen."""
JUDGED_PEOPLE = 60
"""People of the validation split that the card reports."""


@dataclass(frozen=True)
class RelightOptions:
    """Choices of a run: people of the training split, lights on each, optimisation steps, rate, seed."""

    people: int = 400
    lights: int = 8
    steps: int = 14000
    rate: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.people, self.lights, self.steps) < 1:
            raise InvalidInputError("people, lights and steps must be at least 1.")
        low, high = SPLITS["train"]
        if self.people > high - low:
            raise InvalidInputError(f"The training split has {high - low} people.")


class LightNet(nn.Module):
    """The estimator with gradients; names and arithmetic as in
    :class:`~lca_core.relight.estimate.LightEstimator`.

    Args:
        cells: (K,) cells that training people cover.
    """

    cells: Tensor

    def __init__(self, cells: Tensor, width: int = 48, place: int = 6, heads: int = 4) -> None:
        super().__init__()
        self.register_buffer("cells", cells)
        self.place = nn.Parameter(0.1 * torch.randn(len(cells), place))
        self.first = nn.Linear(place + 12, width)
        self.second = nn.Linear(width, width)
        self.attention = nn.Linear(width, heads)
        self.value = nn.Linear(width, width)
        self.third = nn.Linear(width * (heads + 1), 2 * width)
        self.fourth = nn.Linear(2 * width, 2 * width)
        self.out = nn.Linear(2 * width, 27)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, row: Tensor, colors: Tensor, transfer: Tensor) -> Tensor:
        """Rows of ``cells`` (B,M), colours (B,M,3), transfer (B,M,9) -> light (B,9,3)."""
        tone = (colors.clamp(min=0.004).log() - estimate.LOG_MEAN) / estimate.LOG_SPREAD
        sees = (
            transfer * torch.from_numpy(estimate.SEES).float() - torch.from_numpy(estimate.SEES_MEAN).float()
        )
        h = F.relu(self.first(torch.cat([self.place[row], tone, sees], -1)))
        h = F.relu(self.second(h))
        value = self.value(h)
        pooled = torch.einsum("bmh,bmw->bhw", self.attention(h).softmax(1), value).flatten(1)
        out = F.relu(self.third(torch.cat([pooled, value.mean(1)], 1)))
        out = self.out(F.relu(self.fourth(out))).view(-1, 9, 3)
        level = out[:, :1].exp() * 0.5 / estimate.C0
        return torch.cat([level, 0.5 * out[:, 1:] * level], 1)


class People:
    """Training people as tensors, and batches of them: cell rows, colours, transfer, albedo, area."""

    def __init__(self, people: list[LitPerson], cells: Tensor) -> None:
        row = torch.full((estimate.GRID**2,), -1)
        row[cells] = torch.arange(len(cells))
        self._all = people
        self._rows = [row[torch.from_numpy(p.cell.astype(np.int64))] for p in people]

    def batch(self, rng: np.random.Generator) -> list[Tensor]:
        """Lights are mixed: the soft part and the lamp's colour of one person's light, the lamp's place of
        another's, at another exposure and balance. What a camera copies has errors of its own."""
        parts: list[list[NDArray]] = [[] for _ in range(6)]
        for _ in range(BATCH):
            k, other = rng.integers(len(self._all), size=2)
            p, q = self._all[k], self._all[other]
            lamp, soft = int(rng.integers(len(p.rgb))), int(rng.integers(len(q.rgb)))
            pick = rng.choice(len(p.cell), CELLS, replace=len(p.cell) < CELLS)
            shade = np.maximum(p.transfer[pick] @ q.sh[soft] / np.pi, 0)
            shade = shade + p.lamp[lamp][pick, None].astype(np.float32) * q.rgb[soft]
            camera = np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.06, 3))
            colors = np.clip(p.albedo[pick] * shade * camera, 0, 1)
            told = np.clip(colors * np.exp(rng.normal(0, 0.06, (len(pick), 1))), 0, 1)
            values = (self._rows[k].numpy()[pick], told, colors, p.transfer[pick], p.albedo[pick],
                      np.repeat(p.area[pick, None], 3, 1))  # fmt: skip
            for part, value in zip(parts, values, strict=True):
                part.append(value)
        row, *rest = [np.stack(part) for part in parts]
        return [torch.from_numpy(row), *(torch.from_numpy(part.astype(np.float32)) for part in rest)]


def loss_of(light: Tensor, colors: Tensor, transfer: Tensor, albedo: Tensor, area: Tensor) -> Tensor:
    """Error of the albedo that dividing by ``light`` (B,9,3) leaves, mean over cells by area."""
    soft = transfer @ light / torch.pi
    shade = F.softplus(estimate.SHARPNESS * soft - 1) / estimate.SHARPNESS + estimate.DARKEST
    found = colors / shade
    shown = found.clamp(1e-4, 1.2).pow(1 / 2.2) - albedo.clamp(min=1e-4).pow(1 / 2.2)
    stops = (found.clamp(min=1e-3) + 0.02).log() - (albedo + 0.02).log()
    each = (area * (shown.square() + STOPS * stops.abs())).sum((1, 2)) / area.sum((1, 2))
    return each.mean()


def fit(
    people: list[LitPerson], options: RelightOptions, work: Path, tell: Callable[[str], None]
) -> LightNet:
    """Train; goes on from ``work``/light.pt when that is of the same options."""
    torch.manual_seed(options.seed)
    cells = torch.from_numpy(np.unique(np.concatenate([p.cell for p in people])).astype(np.int64))
    net, data = LightNet(cells), People(people, cells)
    optimiser = torch.optim.AdamW(net.parameters(), lr=options.rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.rate, max(options.steps, 4))
    state, first, mean = work / "light.pt", 0, 0.0
    if state.is_file():
        kept = torch.load(state, weights_only=True)
        if kept["options"] == asdict(options):
            net.load_state_dict(kept["net"])
            optimiser.load_state_dict(kept["optimiser"])
            schedule.load_state_dict(kept["schedule"])
            first, mean = kept["step"], kept["mean"]
            tell(f"goes on at step {first}")
    for step in range(first, options.steps):
        # A step's own generator: a resumed run draws what an unbroken one would.
        row, told, colors, transfer, albedo, area = data.batch(np.random.default_rng([options.seed, 9, step]))
        loss = loss_of(net(row, told, transfer), colors, transfer, albedo, area)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        mean = 0.98 * mean + 0.02 * float(loss.detach())
        if (step + 1) % SAVE_EVERY == 0:
            tell(f"step {step + 1}: loss {mean:.5f}")
            part = state.with_suffix(".part")
            torch.save(
                {"options": asdict(options), "net": net.state_dict(), "optimiser": optimiser.state_dict(),
                 "schedule": schedule.state_dict(), "step": step + 1, "mean": mean}, part,
            )  # fmt: skip
            part.replace(state)
    return net


def judge(people: list[LitPerson], light_of: Callable[[Cells], NDArray]) -> dict[str, float]:
    """PSNR in dB of people shown in another of their lights, with what ``light_of`` says was the light of the
    photograph, with the usual light instead, and as photographed; and the mean error of the albedo's level in
    stops (positive: too bright)."""
    found: dict[str, list[float]] = {
        "estimated": [],
        "usual_light": [],
        "no_relighting": [],
        "level_stops": [],
    }
    for p in people:
        for k in range(0, len(p.rgb), 2):
            seen = np.clip(p.albedo * p.shading(k), 0, 1)
            new = p.shading((k + 1) % len(p.rgb))
            truth = linear_to_srgb(p.albedo * new)
            light = light_of(Cells(p.cell.astype(np.int64), seen, p.transfer))
            albedo = np.clip(seen / shading(p.transfer, light), 0, 1)
            shown = {
                "estimated": albedo * new,
                "usual_light": np.clip(seen / shading(p.transfer, estimate.usual_light()), 0, 1) * new,
                "no_relighting": seen,
            }
            for name, linear in shown.items():
                error = (p.area[:, None] * (linear_to_srgb(linear) - truth) ** 2).sum() / (3 * p.area.sum())
                found[name].append(float(-10 * np.log10(error)))
            level = np.log2((albedo + 0.01).mean(1) / (p.albedo + 0.01).mean(1))
            found["level_stops"].append(float((p.area * level).sum() / p.area.sum()))
    return {name: round(float(np.mean(values)), 3) for name, values in found.items()}


def train_relight(
    out: Path,
    options: RelightOptions | None = None,
    work: Path | None = None,
    tell: Callable[[str], None] = print,
) -> dict[str, float]:
    """Draw people, train, write ``out`` (.safetensors) and its card beside it.

    Args:
        work: folder of people and of the state of an unfinished run; ``out``'s name with .work by default.

    Returns:
        Numbers on held-out people (:func:`judge`) and the CPU seconds of this call.
    """
    options = options or RelightOptions()
    work = work or out.with_suffix(".work")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    start = time.process_time()
    people = stored_people(work, "train", options.people, options.lights, tell, options.seed)
    net = fit(people, options, work, tell)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, out)
    held_out = stored_people(
        work, "val", min(JUDGED_PEOPLE, options.people), options.lights, tell, options.seed
    )
    estimator = LightEstimator({k: v.numpy() for k, v in load_file(out).items()})
    facts = judge(held_out, estimator) | {"cpu_seconds": round(time.process_time() - start, 1)}
    out.with_suffix(".md").write_text(_card(out, options, facts), encoding="utf-8")
    torch.set_num_threads(threads)
    return facts


def _card(out: Path, options: RelightOptions, facts: dict[str, float]) -> str:
    return f"""# {out.stem}: the light of photographs

What: tint, strength and direction of the light in which a person was photographed, as order-2 harmonics
(`lca_core.relight.estimate`). Input: mean colour and light transfer of up to {estimate.GRID**2} cells of the
body's texture chart. It sees no picture, only these means.

Data: people of the training split of the synthetic generator in its lights (`lca_core.data.lights`), with
self-occlusion and one cast shadow, made by `lca_core.train.relight_examples`. No photographs of anyone.
People, garments and patterns of the test split are held out.

Command: `lca train relight --out {out.name} --people {options.people} --lights {options.lights} --steps
{options.steps} --seed {options.seed}`

Options: `{json.dumps(asdict(options))}`

Held-out people of the validation split, exact colours (`level_stops`: mean error of the albedo's brightness):
`{json.dumps(facts)}`

End to end, on avatars made of pictures: `lca eval relight --json` (docs/relighting.md).

Limits: how bright a skin or a cloth is and how strong the light was cannot be told apart from one light; the
estimate leans on what the training people wear and how their lights are balanced. Sharp shadows and
highlights are not modelled. Photographs with strong tone curves lie outside the training data.

Licence: Apache-2.0.
"""
