#!/usr/bin/env bash
# Runs a command where only loopback exists (a network namespace of its own), or as it is where that is not allowed.
set -u
up='import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 0x41))'
if unshare -rn true 2>/dev/null; then
  exec unshare -rn bash -c "python3 -c '$up' && exec \"\$@\"" loopback "$@"
fi
echo "no network namespace here: running with the network of this machine" >&2
exec "$@"
