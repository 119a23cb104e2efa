"""The client: cancelled uploads, reconnects, TLS."""

from __future__ import annotations

import io
import shutil
import ssl
import subprocess
import sys
import threading
import time

import pytest

from lca.errors import CancelledError, LcaError, NotFoundError, UnavailableError
from lca_bridge.client import connect, read_token
from lca_bridge.server.app import ServiceThread
from lca_bridge.server.config import ServerConfig, TlsFiles


def test_an_error_in_the_progress_callback_ends_the_upload_with_that_error(client, clip):
    def stop(done: int, size: int) -> None:
        raise CancelledError("Enough.")

    with pytest.raises(CancelledError, match="Enough"):
        client.upload(clip, stop)


def test_progress_reaches_the_size_of_the_file(client, clip):
    seen: list[tuple[int, int]] = []
    client.upload(clip, lambda done, size: seen.append((done, size)))
    assert seen[-1] == (clip.stat().st_size,) * 2


def test_calls_survive_a_restart_of_the_service(tmp_path, package_file):
    socket = f"unix:{tmp_path / 's' / 'lca.sock'}"
    config = ServerConfig(data_dir=tmp_path / "d", address=socket)
    with connect(socket) as client:
        with ServiceThread(config):
            client.import_avatar(client.upload(package_file).name, avatar_id="ada")
        with pytest.raises(UnavailableError):
            client.list_avatars()
        with ServiceThread(config):
            deadline = 20
            while deadline:
                try:
                    assert [a.name for a in client.list_avatars()] == ["avatars/ada"]
                    break
                except UnavailableError:
                    deadline -= 1
            assert deadline


def test_token_files_are_read_or_missed(tmp_path):
    (tmp_path / "token").write_text("secret\n")
    assert read_token(tmp_path / "token") == "secret"
    with pytest.raises(NotFoundError):
        read_token(tmp_path / "none")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_tls_with_and_without_client_certificates(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-subj /CN=localhost -addext subjectAltName=DNS:localhost "
        f"-keyout {key} -out {certificate}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    assert ssl.create_default_context(cafile=str(certificate))
    config = ServerConfig(
        data_dir=tmp_path / "d", address="0.0.0.0:0", tls=TlsFiles(certificate, key), token="correct"
    )
    with ServiceThread(config) as service:
        port = service.target.rpartition(":")[2]
        with connect(f"localhost:{port}", "correct", tls_ca=certificate.read_bytes()) as client:
            assert client.list_avatars() == []
        with connect(f"localhost:{port}", "wrong", tls_ca=certificate.read_bytes()) as client:
            with pytest.raises(LcaError) as caught:
                client.list_avatars()
            assert caught.value.reason == "TOKEN_INVALID"
        with connect(f"localhost:{port}", "correct") as plain, pytest.raises(UnavailableError):
            plain.list_avatars()  # plain text to a TLS port
    mutual = ServerConfig(
        data_dir=tmp_path / "m", address="localhost:0", tls=TlsFiles(certificate, key, certificate), token="t"
    )
    with (
        ServiceThread(mutual) as service,
        connect(service.target, "t", tls_ca=certificate.read_bytes()) as client,
        pytest.raises(UnavailableError),
    ):
        client.list_avatars()  # no client certificate


SILENT_SERVICE = """
import threading
from concurrent.futures import ThreadPoolExecutor
import grpc

class Silent(grpc.GenericRpcHandler):
    def service(self, call):
        kind = grpc.stream_stream_rpc_method_handler if call.method.endswith("Animate") else None
        return (kind or grpc.unary_stream_rpc_method_handler)(lambda *_: iter(threading.Event().wait, None))

server = grpc.server(ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((Silent(),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
threading.Event().wait()
"""


def test_streams_notice_a_service_that_is_killed_before_its_first_message(tmp_path):
    """With a retry policy gRPC never ends such calls, so streams must have none."""
    command = [sys.executable, "-c", SILENT_SERVICE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        client = connect(f"127.0.0.1:{service.stdout.readline().strip()}", wait_seconds=20)
        calls = {
            "watch": lambda: next(client.watch_job("jobs/j", patience=0)),
            "animate": lambda: client.animate("avatars/ada"),
            "download": lambda: client._append("avatars/ada", "", io.BytesIO(), None),
        }
        ends: dict[str, str] = {}

        def wait_for(name: str) -> None:
            with pytest.raises(UnavailableError) as caught:
                calls[name]()
            ends[name] = caught.value.reason

        threads = [threading.Thread(target=wait_for, args=(name,), daemon=True) for name in calls]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        assert ends == {}, "nothing came so far"
        service.kill()
        for thread in threads:
            thread.join(10)
        assert set(ends) == set(calls)
        client.close()
