"""Validation of USD files: the validators that ship with USD, our own splat rules, and the container of a
usdz.

A path goes in, a list of :class:`Issue` comes out; an empty list means nothing to complain about. Every
variant of every variant set is selected in turn, because a fault may hide in one that is not shown.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pxr import Sdf, Tf, Usd, UsdValidation

from lca.errors import MediaUnreadableError
from lca_usd.rules import RULES, SplatPrim
from lca_usd.transport import unwrapped

ERROR, WARNING = "error", "warning"

USDZ_TYPES = frozenset(
    (".usd", ".usda", ".usdc", ".usdz", ".png", ".jpg", ".jpeg", ".exr", ".avif", ".m4a", ".mp3", ".wav")
)
"""File types the USDZ specification allows inside a package."""


@dataclass(frozen=True)
class Issue:
    """One finding.

    Attributes:
        rule: name of the rule; ours are function names of `lca_usd.rules`, USD's contain a colon.
        path: prim or property path, or the name of a file inside a usdz.
        message: what is wrong.
        severity: ``error`` or ``warning``.
    """

    rule: str
    path: str
    message: str
    severity: str = ERROR

    def __str__(self) -> str:
        return f"{self.rule} at {self.path or '/'}: {self.message}"


def validate(path: str | os.PathLike[str]) -> list[Issue]:
    """Check a ``.usdz``, ``.usdc``, ``.usda`` or ``.usdz.zst`` file.

    Returns:
        findings without repetition, those about the container first. One that shows only in some variant
        names it.

    Raises:
        NotFoundError: there is no such file.
        MediaUnreadableError: USD cannot open it, and its container does not say why.
    """
    with unwrapped(Path(path)) as file:
        return _validate(file)


def _validate(file: Path) -> list[Issue]:
    issues = list(_container_issues(file)) if file.suffix.lower() == ".usdz" else []
    try:
        stage = Usd.Stage.Open(str(file))
    except Tf.ErrorException as error:
        if issues:
            return issues
        raise MediaUnreadableError(
            f"{file.name} is not a USD file that this library can open. Export it again."
        ) from error
    seen: set[tuple[str, str, str]] = set()
    for selection in _selections(stage):
        for issue in [*_usd_issues(stage), *_splat_issues(stage)]:
            key = (issue.rule, issue.path, issue.message)
            if key not in seen:
                seen.add(key)
                note = f" [{selection}]" if selection else ""
                issues.append(Issue(issue.rule, issue.path, issue.message + note, issue.severity))
    return issues


def _selections(stage: Usd.Stage) -> Iterator[str]:
    """Visit the stage as it opens, then with every other variant selected, one set at a time."""
    yield ""
    sets = [
        (prim.GetPath(), name, prim.GetVariantSet(name))
        for prim in stage.Traverse()
        for name in prim.GetVariantSets().GetNames()
    ]
    session = stage.GetSessionLayer()
    for path, name, variant_set in sets:
        authored = variant_set.GetVariantSelection()
        for variant in variant_set.GetVariantNames():
            if variant == authored:
                continue
            with Usd.EditContext(stage, session):
                stage.OverridePrim(path).GetVariantSet(name).SetVariantSelection(variant)
            yield f"{name}={variant}"
        # Back to what the file says.
        session.Clear()


def _usd_issues(stage: Usd.Stage) -> Iterator[Issue]:
    context = UsdValidation.ValidationContext(UsdValidation.ValidationRegistry().GetOrLoadAllValidators())
    for error in context.Validate(stage):
        sites = [str(_site_path(site)) for site in error.GetSites()]
        severe = error.GetType() == UsdValidation.ValidationErrorType.Error
        yield Issue(
            str(error.GetIdentifier()), ", ".join(sites), error.GetMessage(), ERROR if severe else WARNING
        )


def _site_path(site: UsdValidation.ValidationErrorSite) -> Sdf.Path | str:
    if site.IsPrim():
        return site.GetPrim().GetPath()
    if site.IsProperty():
        return site.GetProperty().GetPath()
    return ""


def _splat_issues(stage: Usd.Stage) -> Iterator[Issue]:
    for prim in stage.Traverse():
        if SplatPrim.matches(prim):
            splat = SplatPrim(prim)
            for rule in RULES:
                for message in rule(splat):
                    yield Issue(rule.__name__, str(prim.GetPath()), message)


def _container_issues(file: Path) -> Iterator[Issue]:
    """The USDZ rules: a stored, unencrypted zip, data aligned to 64 bytes, allowed types, a USD layer
    first."""
    try:
        with zipfile.ZipFile(file) as archive, file.open("rb") as raw:
            entries = archive.infolist()
            for position, entry in enumerate(entries):
                suffix = Path(entry.filename).suffix.lower()
                if suffix not in USDZ_TYPES:
                    yield Issue("usdz_types_are_allowed", entry.filename, f"{suffix} files may not be inside")
                if position == 0 and not suffix.startswith(".usd"):
                    yield Issue("usdz_root_layer_is_first", entry.filename, "the first entry is no USD layer")
                if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                    yield Issue(
                        "usdz_entries_are_stored", entry.filename, "the entry is compressed or encrypted"
                    )
                raw.seek(entry.header_offset + 26)
                lengths = raw.read(4)
                start = entry.header_offset + 30
                start += int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
                if start % 64:
                    yield Issue(
                        "usdz_data_is_aligned", entry.filename, f"data start at byte {start}, not 64 k"
                    )
            if not entries:
                yield Issue("usdz_root_layer_is_first", "", "the package is empty")
    except zipfile.BadZipFile:
        yield Issue("usdz_is_a_zip", file.name, "the package is not a readable zip")
