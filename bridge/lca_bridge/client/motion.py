"""Moving avatars: live streams, single poses, pictures, and whole motions as jobs."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

import numpy as np

from lca.errors import InvalidInputError
from lca.v1 import (
    animation_service_pb2,
    animation_service_pb2_grpc,
    image_pb2,
    job_pb2,
    motion_pb2,
    render_service_pb2,
    render_service_pb2_grpc,
)
from lca_bridge.client.animate import MODES, AnimateStream
from lca_bridge.client.errors import translated
from lca_bridge.client.live import LiveDriver
from lca_bridge.client.transfers import CALL_SECONDS
from lca_bridge.wire.frames import Codec, Encoding, FrameDecoder
from lca_bridge.wire.messages import FrameAssembler, layout_from_proto
from lca_bridge.wire.skin import PosedSplats

BAKE_FORMATS = {"frames": 1, "ply": 2, "usdz": 3}
MOVIE_FORMATS = {"mp4": 1, "pictures": 2}
RENDER_SECONDS = 300.0


class MotionCalls:
    """The part of :class:`~lca_bridge.client.client.LcaClient` that moves avatars."""

    _animation: animation_service_pb2_grpc.AnimationServiceStub
    _render: render_service_pb2_grpc.RenderServiceStub

    def animate(
        self,
        avatar: str,
        *,
        codec: str | Codec = "",
        latest: bool = False,
        every: bool = False,
        encoding: Encoding = Encoding.Q20,
        credit: int = 0,
        max_age: float | None = None,
        keyframe_interval: int = 0,
        live: bool = False,
        image: image_pb2.ImageOutput | None = None,
        revision: str = "",
    ) -> AnimateStream:
        """Open an animate stream; see :class:`~lca_bridge.client.animate.AnimateStream`.

        ``with client.animate(name, codec="shm", latest=True) as stream:`` gives float32 arrays without any
        copy where client and service share a machine, and the same frames inline where they do not.

        Args:
            codec: a name of :data:`~lca_bridge.client.animate.MODES` ("shm", "f32", "q20", "q10",
                "q10-delta", ...), or "corrections": rig frames for
                :meth:`~lca_bridge.wire.skin.BakedRig.apply`, about 3 KB each. A :class:`Codec` goes with
                ``encoding``.
            latest: only the newest pose counts (live preview); the default.
            every: every pose in order (offline) instead.
            credit: frames the service may send ahead, at most 8 (corrections: 64); 0 means 2 for the latest
                pose, 4 for every pose, 64 for corrections of every pose.
            max_age: seconds after which a waiting pose is dropped (live preview).
            live: use the correction network instead of the linear correctives.
            image: get pictures instead of Gaussians.

        Raises:
            InvalidInputError: ``BAD_START``; there is no such codec, or latest and every were both asked for.
        """
        pb = animation_service_pb2
        if latest and every:
            raise InvalidInputError("Choose latest or every, not both.", reason="BAD_START")
        corrections = codec == "corrections"
        if image is not None:
            output = pb.OutputSpec(image=image)
        elif corrections:
            output = pb.OutputSpec(corrections=pb.CorrectionOutput())
        else:
            output = pb.OutputSpec(gaussians=_gaussian_output(codec, encoding, keyframe_interval))
        policy = pb.DeliveryPolicy(
            mode=pb.DELIVERY_MODE_EVERY if every else pb.DELIVERY_MODE_LATEST,
            initial_credit=credit or (64 if corrections and every else 4 if every else 2),
        )
        if max_age is not None:
            policy.max_age.FromNanoseconds(int(max_age * 1e9))
        start = pb.AnimateStart(
            avatar=avatar,
            revision=revision,
            output=output,
            delivery=policy,
            correction=_correction(live),
        )
        return AnimateStream(self._animation.Animate, start)

    def drive(self, avatar: str, *, codec: str = "shm", live: bool = False, revision: str = "") -> LiveDriver:
        """Drive an avatar live without ever waiting; see :class:`~lca_bridge.client.live.LiveDriver`."""
        stream = self.animate(avatar, codec=codec, latest=True, credit=3, live=live, revision=revision)
        return LiveDriver(stream)

    @translated
    def evaluate_pose(
        self,
        avatar: str,
        pose: motion_pb2.PoseFrame,
        *,
        encoding: Encoding = Encoding.Q20,
        codec: Codec = Codec.RAW,
        live: bool = False,
        revision: str = "",
    ) -> PosedSplats:
        """The Gaussians of one pose; ``live`` as in :meth:`animate`."""
        pb = animation_service_pb2
        request = pb.EvaluatePoseRequest(
            avatar=avatar,
            revision=revision,
            pose=pose,
            correction=_correction(live),
            output=pb.GaussianOutput(encoding=int(encoding), codec=int(codec)),  # type: ignore[arg-type]
        )
        response = self._animation.EvaluatePose(request, timeout=CALL_SECONDS)
        layout = layout_from_proto(response.layout)
        frame = FrameAssembler(layout).add(response.frame)
        if frame is None:
            raise InvalidInputError("The service sent half a frame.", reason="MALFORMED_FRAME")
        return FrameDecoder(layout).decode(frame)

    @translated
    def render_still(
        self,
        avatar: str,
        pose: motion_pb2.PoseFrame | None = None,
        *,
        output: image_pb2.ImageOutput | None = None,
        live: bool = False,
        revision: str = "",
    ) -> image_pb2.Image:
        """A picture (PNG unless ``output`` says otherwise)."""
        request = render_service_pb2.RenderStillRequest(
            avatar=avatar, revision=revision, pose=pose, output=output, correction=_correction(live)
        )
        return self._render.RenderStill(request, timeout=RENDER_SECONDS).image

    @translated
    def bake_motion(
        self,
        avatar: str,
        poses: Iterable[motion_pb2.PoseFrame],
        *,
        fps: float,
        format: str = "frames",
        live: bool = False,
        revision: str = "",
        request_id: str = "",
    ) -> job_pb2.Job:
        """Start a job that writes a whole motion to a file, for :meth:`download_result`.

        Args:
            format: "frames" (float32 frames in a zip), "ply" (a zip of 3DGS files) or "usdz".
        """
        request = animation_service_pb2.BakeMotionRequest(
            avatar=avatar,
            revision=revision,
            motion=motion_pb2.Motion(frame_rate=fps, frames=poses),
            format=_choice(format, BAKE_FORMATS),  # type: ignore[arg-type]
            correction=_correction(live),
            request_id=request_id or str(uuid.uuid4()),
        )
        return self._animation.BakeMotion(request, timeout=CALL_SECONDS)

    @translated
    def render_motion(
        self,
        avatar: str,
        poses: Iterable[motion_pb2.PoseFrame],
        *,
        fps: float,
        format: str = "mp4",
        output: image_pb2.ImageOutput | None = None,
        live: bool = False,
        revision: str = "",
        request_id: str = "",
    ) -> job_pb2.Job:
        """Start a job that films a motion, for :meth:`download_result`.

        Args:
            format: "mp4", or "pictures" (a zip; ``output`` says PNG or JPEG).
        """
        request = render_service_pb2.RenderMotionRequest(
            avatar=avatar,
            revision=revision,
            motion=motion_pb2.Motion(frame_rate=fps, frames=poses),
            output=output,
            format=_choice(format, MOVIE_FORMATS),  # type: ignore[arg-type]
            correction=_correction(live),
            request_id=request_id or str(uuid.uuid4()),
        )
        return self._render.RenderMotion(request, timeout=CALL_SECONDS)


def camera(viewmat: np.ndarray, intrinsics: tuple[float, float, float, float]) -> image_pb2.Camera:
    """A camera message from a (4, 4) world-to-camera matrix and (fx, fy, cx, cy)."""
    return image_pb2.Camera(
        view_matrix=np.asarray(viewmat, np.float64).ravel().tolist(), intrinsics=list(intrinsics)
    )


def _gaussian_output(
    codec: str | Codec, encoding: Encoding, keyframe_interval: int
) -> animation_service_pb2.GaussianOutput:
    share = False
    if isinstance(codec, str):
        if codec and codec not in MODES:
            raise InvalidInputError(
                f"There is no codec {codec!r}. Known: {', '.join((*MODES, 'corrections'))}.",
                reason="BAD_START",
            )
        encoding, codec, share = MODES.get(codec, (encoding, Codec.RAW, False))
    return animation_service_pb2.GaussianOutput(
        encoding=int(encoding),  # type: ignore[arg-type]
        codec=int(codec),  # type: ignore[arg-type]
        keyframe_interval=keyframe_interval,
        prefer_shared_memory=share,
    )


def _correction(live: bool) -> animation_service_pb2.CorrectionMode:
    return animation_service_pb2.CORRECTION_MODE_LIVE if live else animation_service_pb2.CORRECTION_MODE_BAKED


def _choice(name: str, known: dict[str, int]) -> int:
    if name not in known:
        raise InvalidInputError(
            f"There is no format {name!r}. Known: {', '.join(known)}.", reason="BAD_FORMAT"
        )
    return known[name]
