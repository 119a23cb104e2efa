"""Packages in an object store: on a file system and in memory, the same promises as on the local disk."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lca.errors import AlreadyExistsError, DataLossError, NotFoundError, UnavailableError
from lca_bridge.client import connect
from lca_bridge.server.app import ServiceThread
from lca_bridge.server.blobs import BlobStore
from lca_bridge.server.config import ServerConfig
from lca_bridge.server.selfcheck import check
from lca_bridge.wire.messages import pose_to_proto

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path) -> Iterator[str]:
    place = f"file://{tmp_path / 'objects'}" if request.param == "file" else f"memory://{tmp_path.name}"
    yield place
    system, root = fsspec.core.url_to_fs(place)
    if system.exists(root):
        system.rm(root, recursive=True)


def objects(url: str) -> list[str]:
    system, root = fsspec.core.url_to_fs(url)
    return [path for path in system.find(root) if not path.endswith("owner.json")]


def config(tmp_path: Path, url: str, name: str = "data") -> ServerConfig:
    return ServerConfig(data_dir=tmp_path / name, address="127.0.0.1:0", blobs=url)


def test_packages_live_in_the_object_store(tmp_path, url, package_file):
    with ServiceThread(config(tmp_path, url)) as service, connect(service.target, service.token) as client:
        made = client.import_avatar(client.upload(package_file).name, avatar_id="ada")
        (stored,) = objects(url)
        assert stored.endswith(f"/{made.revision[:2]}/{made.revision}")
        assert client.server_info().limits.storage_used_bytes == package_file.stat().st_size
        want = client.evaluate_pose("avatars/ada", pose_to_proto(1)).means
    shutil.rmtree(tmp_path / "data" / "cas")  # a new machine with the old database
    with ServiceThread(config(tmp_path, url)) as service, connect(service.target, service.token) as client:
        assert (client.evaluate_pose("avatars/ada", pose_to_proto(1)).means == want).all()
        again = client.download("avatars/ada", tmp_path / "again.lca")
        assert again.read_bytes() == package_file.read_bytes()
        client.purge_avatar("avatars/ada")
        assert objects(url) == [] and not list((tmp_path / "data" / "cas").glob("*/*"))


def test_a_place_has_one_owner(tmp_path, url):
    with ServiceThread(config(tmp_path, url)):
        pass
    with pytest.raises(AlreadyExistsError) as caught, ServiceThread(config(tmp_path, url, "other")):
        pass
    assert caught.value.reason == "BLOBS_IN_USE"
    with ServiceThread(config(tmp_path, url)):  # its own service comes back
        pass


def test_damaged_and_missing_objects_are_said_so(tmp_path, url, package_file):
    with ServiceThread(config(tmp_path, url)) as service, connect(service.target, service.token) as client:
        client.import_avatar(client.upload(package_file).name, avatar_id="ada")
        (stored,) = objects(url)
        shutil.rmtree(tmp_path / "data" / "cas")
        (tmp_path / "data" / "cas").mkdir()
        system, _ = fsspec.core.url_to_fs(url)
        system.pipe_file(stored, b"damaged")
        with pytest.raises(DataLossError):
            client.evaluate_pose("avatars/ada", pose_to_proto(1))
        system.rm(stored)
        with pytest.raises(NotFoundError) as caught:
            client.rig("avatars/ada")
        assert caught.value.reason == "PACKAGE_GONE"
        assert not list((tmp_path / "data" / "tmp").iterdir()), "nothing half fetched stays"


def test_a_store_that_fails_acknowledges_nothing_and_may_recover(tmp_path, url, package_file, monkeypatch):
    system, _ = fsspec.core.url_to_fs(url)

    def broken(*_: object, **__: object) -> None:
        raise OSError("the network is down: http://inside.example/bucket")

    with ServiceThread(config(tmp_path, url)) as service, connect(service.target, service.token) as client:
        upload = client.upload(package_file).name
        with monkeypatch.context() as patch:
            patch.setattr(type(system), "put_file", broken)
            with pytest.raises(UnavailableError) as caught:
                client.import_avatar(upload, avatar_id="ada")
        assert caught.value.reason == "STORAGE_FAILED" and "inside" not in caught.value.message
        assert client.list_avatars() == [] and objects(url) == []
        client.import_avatar(upload, avatar_id="ada")  # the upload was not used up
        with monkeypatch.context() as patch:
            patch.setattr(type(system), "rm_file", broken)
            with pytest.raises(UnavailableError):
                client.purge_avatar("avatars/ada")
        assert len(client.list_avatars()) == 1, "nothing is called erased that is still there"
        client.purge_avatar("avatars/ada")
        assert objects(url) == [] and client.list_avatars(show_deleted=True) == []


def test_what_could_not_be_erased_is_erased_later(tmp_path, url, monkeypatch):
    store = BlobStore(tmp_path / "data", url)
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    system, _ = fsspec.core.url_to_fs(url)
    hashes = [store.put_file(tmp_path / name)[0] for name in "ab"]
    with monkeypatch.context() as patch:
        patch.setattr(type(system), "rm_file", lambda *_: 1 / 0)
        for sha256 in hashes:
            with pytest.raises(UnavailableError):
                store.delete_blob(sha256)
    store.put_file(tmp_path / "b")  # wanted again meanwhile
    store.erase_rest()
    assert [path.rpartition("/")[2] for path in objects(url)] == hashes[1:]


def test_the_start_sweeps_what_no_row_names(tmp_path, url):
    with ServiceThread(config(tmp_path, url)):
        pass
    system, root = fsspec.core.url_to_fs(url)
    system.makedirs(f"{root}/ab", exist_ok=True)
    system.pipe_file(f"{root}/ab/{'ab' * 32}", b"half of a pack")
    with ServiceThread(config(tmp_path, url)):
        assert objects(url) == []


def test_copies_go_when_there_are_too_many_and_come_back(tmp_path, url):
    store = BlobStore(tmp_path / "data", url)
    hashes = []
    for i in range(4):
        made = tmp_path / f"{i}"
        made.write_bytes(bytes([i]) * 1000)
        hashes.append(store.put_file(made)[0])
        at = time.time() - 10_000 + i
        os.utime(store.blob_path(hashes[-1]), (at, at))
    store.fetch(hashes[0])  # used just now
    store.trim(2000, keep=[hashes[1]])
    here = [sha256 for sha256 in hashes if store.blob_path(sha256).exists()]
    assert here == hashes[:2] and store.stored_bytes() == 4000
    assert store.fetch(hashes[3]).read_bytes() == bytes([3]) * 1000


def test_copies_of_a_local_store_never_go(tmp_path):
    store = BlobStore(tmp_path / "data")
    (tmp_path / "a").write_bytes(b"x" * 1000)
    sha256, size = store.put_file(tmp_path / "a")
    os.utime(store.blob_path(sha256), (1, 1))
    store.trim(0)
    assert store.fetch(sha256).stat().st_size == size == 1000


def test_check_looks_at_the_object_store(tmp_path, url):
    found = {finding.what: finding for finding in check(config(tmp_path, url))}
    assert found["blobs"].ok and objects(url) == []
    assert not {f.what: f for f in check(config(tmp_path, "nonsense://x"))}["blobs"].ok
    assert not (tmp_path / "data").exists(), "a check starts nothing"
