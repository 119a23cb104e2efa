"""A library goes out and comes back whole, to a folder, file:// and memory://."""

from __future__ import annotations

import json

import pytest

from lca.errors import AlreadyExistsError, DataLossError, InvalidInputError, NotFoundError
from lca_bridge.cli.library import export_library, import_library
from lca_bridge.client import connect
from lca_bridge.server.app import ServiceThread
from lca_bridge.server.config import ServerConfig

fsspec = pytest.importorskip("fsspec")


@pytest.mark.parametrize("place", ["{}", "file://{}", "memory://library"])
def test_a_library_travels(client, package_file, tmp_path, place):
    url = place.format(tmp_path / "library")
    for name in ("ada", "grace"):
        client.import_avatar(client.upload(package_file).name, avatar_id=name, labels={"set": name})
    assert set(export_library(client, url)) == {"avatars/ada", "avatars/grace"}
    system, root = fsspec.core.url_to_fs(url)
    files = {path.rpartition("/")[2] for path in system.ls(root, detail=False)}
    assert len(files) == 2 and "library.json" in files, "equal packages are stored once"
    config = ServerConfig(data_dir=tmp_path / "other", address="127.0.0.1:0")
    with ServiceThread(config) as service, connect(service.target, service.token) as other:
        assert sorted(import_library(other, url)[0]) == ["avatars/ada", "avatars/grace"]
        assert import_library(other, url)[0] == []
        assert dict(other.get_avatar("avatars/ada").labels) == {"set": "ada"}
        original = client.get_avatar("avatars/ada").revision
        assert other.get_avatar("avatars/ada").revision == original
        other.purge_avatar("avatars/ada")
        system.pipe_file(f"{root}/{original}.lca", b"damaged")
        with pytest.raises(DataLossError):
            import_library(other, url)
    with pytest.raises(NotFoundError):
        import_library(client, url + "-none")
    with pytest.raises(InvalidInputError):
        import_library(client, "nonsense://x")


@pytest.mark.parametrize(
    "entry",
    [
        {"revision": "../../etc/passwd"},
        {"revision": "ab" * 31},
        {"id": 7},
        {"labels": ["a"]},
        {"labels": {"a": 1}},
        {"display_name": None},
    ],
)
def test_a_list_from_elsewhere_is_checked_before_anything_is_read(client, tmp_path, entry):
    sound = {"id": "ada", "display_name": "Ada", "labels": {}, "revision": "ab" * 32}
    text = json.dumps({"schema": "lca.library/1", "avatars": [{**sound, **entry}]})
    (tmp_path / "library.json").write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        import_library(client, str(tmp_path))
    assert caught.value.reason == "BAD_LIBRARY"


def test_another_person_is_never_replaced(client, package_file, repack, new_groups, tmp_path):
    client.import_avatar(client.upload(package_file).name, avatar_id="ada")
    export_library(client, str(tmp_path / "library"))
    client.purge_avatar("avatars/ada")
    (tmp_path / "b.lca").write_bytes(repack(new_groups(9, 50, 2)))
    client.import_avatar(client.upload(tmp_path / "b.lca").name, avatar_id="ada")
    with pytest.raises(AlreadyExistsError):
        import_library(client, str(tmp_path / "library"))
