"""Rows of the store as ``lca.v1`` messages."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from lca.v1 import avatar_pb2, job_pb2, upload_service_pb2
from lca_bridge.server.store import AvatarRow, JobRow, UploadRow
from lca_bridge.wire.package import AvatarPackage


def timestamp(seconds: float) -> Timestamp | None:
    """A timestamp, ``None`` for never."""
    if not seconds:
        return None
    message = Timestamp()
    message.FromNanoseconds(int(seconds * 1e9))
    return message


def avatar_message(row: AvatarRow) -> avatar_pb2.Avatar:
    """lca.v1.Avatar."""
    stats = row.stats
    return avatar_pb2.Avatar(
        name=f"avatars/{row.id}",
        display_name=row.display_name,
        labels=row.labels,
        create_job=f"jobs/{row.create_job}" if row.create_job else "",
        revision=row.revision,
        stats=avatar_pb2.AvatarStats(
            gaussian_count=int(stats.get("gaussian_count", 0)),
            joint_count=int(stats.get("joint_count", 0)),
            arkit_count=int(stats.get("arkit_count", 0)),
            package_size_bytes=int(stats.get("package_size_bytes", 0)),
            height_meters=float(stats.get("height_meters", 0)),
        ),
        etag=row.etag,
        create_time=timestamp(row.created),
        update_time=timestamp(row.updated),
        delete_time=timestamp(row.deleted),
        purge_time=timestamp(row.purge_at),
    )


def job_message(row: JobRow, keep_days: float = 0.0) -> job_pb2.Job:
    """lca.v1.Job of a record that is kept ``keep_days`` after its end."""
    progress = row.progress
    left = progress.get("remaining_seconds")
    remaining = None
    if left is not None:
        remaining = Duration()
        remaining.FromNanoseconds(int(min(left, 1e7) * 1e9))
    return job_pb2.Job(
        name=f"jobs/{row.id}",
        kind=job_pb2.JobKind.Value(f"JOB_KIND_{row.kind}"),
        state=job_pb2.JobState.Value(f"JOB_STATE_{row.state}"),
        progress=job_pb2.JobProgress(
            stage=progress.get("stage", ""),
            stage_index=progress.get("stage_index", 0),
            stage_count=progress.get("stage_count", 0),
            fraction=progress.get("fraction", 0.0),
            remaining_estimate=remaining,
            message=progress.get("message", ""),
        ),
        result_resource=row.result,
        error=job_pb2.JobError(**row.error) if row.error else None,
        attempt=row.attempt,
        create_time=timestamp(row.created),
        start_time=timestamp(row.started),
        end_time=timestamp(row.ended),
        checkpoint=row.checkpoint,
        expire_time=timestamp(row.ended + keep_days * 86400) if row.is_final and keep_days else None,
        request_id=row.request_id,
        result=job_pb2.JobResult(**row.result_file) if row.result_file else None,
    )


def upload_message(row: UploadRow, hours: float) -> upload_service_pb2.Upload:
    """lca.v1.Upload."""
    media = {k: v for k, v in row.media.items() if k != "kind"}
    return upload_service_pb2.Upload(
        name=f"uploads/{row.id}",
        size_bytes=row.size,
        committed_size=row.committed,
        state=upload_service_pb2.UploadState.Value(f"UPLOAD_STATE_{row.state}"),
        sha256=row.sha256,
        content=upload_service_pb2.UploadContent.Value(f"UPLOAD_CONTENT_{row.content or 'UNSPECIFIED'}"),
        media_info=upload_service_pb2.MediaInfo(**media) if media else None,
        expire_time=timestamp(row.created + hours * 3600),
    )


def rig_message(avatar: str, package: AvatarPackage, rig_json: str) -> avatar_pb2.Rig:
    """lca.v1.Rig of a package; channel ranges come from its controls where it names them."""
    controls = {c.get("name"): c for c in package.rig.get("controls", []) if isinstance(c, dict)}
    names = package.rig.get("joint_names", [])
    skinning = package.skinning
    expressions = []
    for name in package.rig.get("arkit_names", []):
        control = controls.get(name, {})
        expressions.append(
            avatar_pb2.ExpressionChannel(
                channel_name=name,
                min_value=control.get("min", 0.0),
                max_value=control.get("max", 1.0),
                default_value=control.get("default", 0.0),
            )
        )
    return avatar_pb2.Rig(
        name=f"avatars/{avatar}/rig",
        joints=[
            avatar_pb2.Joint(
                joint_name=name, parent_index=int(parent), rest_position=[float(v) for v in position]
            )
            for name, parent, position in zip(names, skinning.parents, skinning.joints)
        ],
        expressions=expressions,
        description_json=rig_json,
    )
