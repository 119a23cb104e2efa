# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to an avatar service: preferences, and an operator that says whether the service answers."""

from __future__ import annotations

from dataclasses import dataclass

import bpy

from ..bl.language import rpt
from ..core import local_service
from ..core import service as service_core
from ..core.deps import describe_error, errors
from ..core.endpoint import DEFAULT_ENDPOINT, is_loopback, refusal
from ..core.jobs import Job

_ADDON = __package__.rpartition(".")[0]
_NOBODY = service_core.ServiceInfo("", ())


@dataclass
class _State:
    info: service_core.ServiceInfo = _NOBODY


_state = _State()


class LCA_Preferences(bpy.types.AddonPreferences):
    """Where the service is; kept with Blender's preferences."""

    bl_idname = _ADDON

    endpoint: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Service",
        description="host:port or unix:/path of the avatar service",
        default=DEFAULT_ENDPOINT,
    )
    token_file: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Token File",
        description="File with the service's access token; empty looks in the usual place",
        subtype="FILE_PATH",
    )
    ca_file: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="CA Certificate",
        description="PEM file to trust when the service is on another computer",
        subtype="FILE_PATH",
    )

    cache_folder: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Avatar Folder",
        description="Where downloaded avatars are kept; empty uses the extension's own folder",
        subtype="DIR_PATH",
    )
    program: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Service Program",
        description="The lca program of an LCA Bridge installation on this computer; empty looks in PATH",
        subtype="FILE_PATH",
    )

    def draw(self, _context: bpy.types.Context) -> None:
        """The fields, and a button that starts the service of this computer."""
        for name in ("endpoint", "token_file", "ca_file", "cache_folder", "program"):
            self.layout.prop(self, name)
        self.layout.operator("lca.stop_service" if local_service.running() else "lca.start_service")


def preferences() -> LCA_Preferences | None:
    """The add-on's preferences; None when it was registered by hand instead of enabled."""
    entry = bpy.context.preferences.addons.get(_ADDON)
    return None if entry is None else entry.preferences


def program() -> str:
    """The ``lca`` program that the preferences name; empty looks in PATH."""
    prefs = preferences()
    return bpy.path.abspath(prefs.program) if prefs is not None and prefs.program else ""


def resolve(endpoint: str = "", token_file: str = "") -> service_core.Target:
    """What to connect to: explicit values first, then the preferences, then the defaults."""
    prefs, ca_file = preferences(), ""
    if prefs is not None:
        endpoint, token_file = endpoint or prefs.endpoint, token_file or prefs.token_file
        ca_file = prefs.ca_file
    return service_core.Target(
        endpoint or DEFAULT_ENDPOINT,
        bpy.path.abspath(token_file) if token_file else "",
        bpy.path.abspath(ca_file) if ca_file else "",
    )


def service_info() -> service_core.ServiceInfo:
    """What the last successful connect found, for panels; empty otherwise."""
    return _state.info


class ServiceFields:
    """Operators that talk to a service: scripts may name another one than the preferences do."""

    endpoint: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]
    token_file: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]

    def target(self) -> service_core.Target:
        """The service to ask.

        Raises:
            PreconditionError: it may not be reached.
        """
        target = resolve(self.endpoint, self.token_file)
        problem = refusal(target.endpoint, bpy.app.online_access)
        if problem is not None:
            raise errors.PreconditionError(rpt(problem), reason="OFFLINE")
        return target


class LCA_OT_connect(ServiceFields, bpy.types.Operator):
    """Check that the avatar service answers"""

    bl_idname = "lca.connect"
    bl_label = "Connect"

    timeout: bpy.props.FloatProperty(default=5.0, min=0.1, options={"HIDDEN"})  # type: ignore[valid-type]

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Greyed out with the reason when the preferences name a service that may not be reached."""
        problem = refusal(resolve().endpoint, bpy.app.online_access)
        if problem is not None and preferences() is not None:
            cls.poll_message_set(rpt(problem))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask the service what it is; a host that does not answer ends at the timeout."""
        _state.info = _NOBODY
        try:
            target = self.target()
            job = Job(lambda _report, _cancelled: service_core.describe_service(target, self.timeout)).start()
            if not job.wait(self.timeout + 1.0):
                raise errors.UnavailableError(
                    rpt("{service} did not answer within {seconds:.0f} s. Is the service running?").format(
                        service=target.endpoint, seconds=self.timeout
                    )
                )
            _state.info = job.result()
        except Exception as error:
            self.report({"ERROR"}, describe_error(error))
            return {"CANCELLED"}
        self.report({"INFO"}, _state.info.line)
        return {"FINISHED"}


class LCA_OT_start_service(bpy.types.Operator):
    """Start the avatar service of this computer; it ends with Blender"""

    bl_idname = "lca.start_service"
    bl_label = "Start Local Service"

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Only one, and only for an address of this computer."""
        if local_service.running():
            cls.poll_message_set(rpt("The service that Blender started is running"))
            return False
        if not is_loopback(resolve().endpoint):
            cls.poll_message_set(rpt("The address in the preferences is not of this computer"))
            return False
        return True

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Start it and return at once; Connect says when it answers."""
        try:
            local_service.start(program(), resolve().endpoint)
        except Exception as error:
            self.report({"ERROR"}, describe_error(error))
            return {"CANCELLED"}
        line = rpt("The service is starting at {service}")
        self.report({"INFO"}, line.format(service=resolve().endpoint))
        return {"FINISHED"}


class LCA_OT_stop_service(bpy.types.Operator):
    """Stop the service that Blender started"""

    bl_idname = "lca.stop_service"
    bl_label = "Stop Local Service"

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Only ours."""
        return local_service.running()

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Ask it to end."""
        local_service.stop()
        return {"FINISHED"}


CLASSES = (LCA_Preferences, LCA_OT_connect, LCA_OT_start_service, LCA_OT_stop_service)
