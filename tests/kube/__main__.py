"""``python -m tests.kube --port … --home …``: the stand-in as a process of its own, until SIGTERM."""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path

from tests.kube.cluster import Node
from tests.kube.server import kube_server


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.kube", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 is any free one; the kubeconfig names it")
    parser.add_argument("--home", type=Path, required=True, help="folder for kubeconfig, volumes and logs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gpu", type=int, default=0, help="GPUs of the one node")
    parser.add_argument("--namespace", action="append", default=["default", "callsheet-workers"])
    parser.add_argument("--priority-class", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--manifest", action="append", type=Path, default=[], metavar="FILE")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="the image's environment")
    parser.add_argument("--enforce-limits", action="store_true")
    given = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    classes = dict(each.split("=", 1) for each in given.priority_class)
    with kube_server(
        given.home,
        nodes=[Node(gpu=given.gpu)],
        env=dict(each.split("=", 1) for each in given.env),
        namespaces=given.namespace,
        priority_classes={name: int(value) for name, value in classes.items()},
        manifests=given.manifest,
        seed=given.seed,
        port=given.port,
        enforce_limits=given.enforce_limits,
    ) as kube:
        print(kube.url, flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
