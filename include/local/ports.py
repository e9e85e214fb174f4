"""Free ports of this machine."""

from __future__ import annotations

import socket

from include.base.settings import Settings


def kept_port(settings: Settings) -> int:
    """The port of last time, where it is free: published manifests are known by their address."""
    remembered = settings.home / "port"
    try:
        port = free_port(int(remembered.read_text()))
    except (OSError, ValueError):
        port = free_port()
    remembered.write_text(str(port))
    return port


def free_port(wanted: int = 0) -> int:
    """A free port, ``wanted`` if it is given; raises :class:`OSError` where that one is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", wanted))
        port: int = probe.getsockname()[1]
    return port
