"""Both images, built for real on a bare machine and asked whether they are well: ``make images``.

Needs root, buildah and debootstrap (Debian 12), the package indexes, disk and minutes: not a part of ``make test``. The
bases of the Dockerfiles are in registries that not every machine reaches, so a Debian made by debootstrap stands in for
them, with what each Dockerfile takes from its own: Python 3.11, and the user of Airflow's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.manifests import ROOT, guide_pod, image_environment
from tests.requirements import require

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("CALLSHEET_TEST_IMAGES") != "1",
        reason="builds of images take minutes: make images (root; apt-get install buildah debootstrap)",
    ),
    pytest.mark.timeout(1800),
]

PACKAGES = "python3,python3-venv,python-is-python3,ca-certificates"
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")
BASES = {
    "worker": "",
    "airflow": "RUN useradd --uid 50000 --gid 0 --home-dir /home/airflow --create-home airflow"
    " && install -d -o airflow -g 0 -m 0775 /opt/airflow\nENV AIRFLOW_HOME=/opt/airflow\n",
}
"""What a base has besides Python, by image."""


class Buildah:
    """Buildah with a storage of its own, in which nothing is left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self._argv = [
            require("buildah", "apt-get install buildah", shutil.which("buildah")),
            f"--root={folder / 'storage'}",
            f"--runroot={folder / 'run'}",
            "--storage-driver=vfs",
        ]

    def __call__(self, *arguments: str, input_text: str | None = None) -> str:
        done = subprocess.run([*self._argv, *arguments], capture_output=True, text=True, check=False, input=input_text)
        assert done.returncode == 0, f"buildah {' '.join(arguments)}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
        return done.stdout

    def build(self, name: str, *arguments: str, context: Path) -> None:
        """Build an image, as ``docs/deploy.md`` does with an engine."""
        policy = f"--signature-policy={self.folder / 'policy.json'}"
        self("build", "--isolation=chroot", "--format=docker", policy, f"--tag={name}", *arguments, str(context))

    def started(self, image: str) -> str:
        """A container of an image."""
        policy = f"--signature-policy={self.folder / 'policy.json'}"
        return self("from", "--pull-never", policy, image).strip()

    def run(self, container: str, *argv: str, **environment: str) -> str:
        """Run a command as the image's own user, with the image's environment."""
        variables = [f"--env={name}={value}" for name, value in environment.items()]
        return self("run", "--isolation=chroot", *variables, container, "--", *argv)


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    """Buildah with both bases."""
    if os.geteuid() != 0:
        pytest.skip("debootstrap and a build without user namespaces want root")
    folder = tmp_path_factory.mktemp("buildah")
    made = Buildah(folder)
    debootstrap = require("debootstrap", "apt-get install debootstrap", shutil.which("debootstrap"))
    root, context = folder / "debian", folder / "context"
    context.mkdir()
    argv = [debootstrap, "--variant=minbase", f"--include={PACKAGES}", "bookworm", root]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    assert not any((root / name).is_mount() for name in ("proc", "sys")), "debootstrap has unmounted what it mounted"
    # A machine behind a proxy has that proxy's authority among its own.
    shutil.copy(Path("/") / CERTIFICATES, root / CERTIFICATES)
    subprocess.run(["tar", "-C", root, "-cf", context / "debian.tar", "."], check=True)
    shutil.rmtree(root)
    for name, more in BASES.items():
        (context / "Dockerfile").write_text(f"FROM scratch\nADD debian.tar /\n{more}")
        made.build(f"localhost/base-{name}", context=context)
    yield made
    shutil.rmtree(folder, ignore_errors=True)


def built(buildah: Buildah, name: str) -> str:
    """A container of the image that a Dockerfile makes."""
    base = f"--build-arg=BASE=localhost/base-{name}"
    buildah.build(f"localhost/{name}", base, f"--file={ROOT / f'docker/{name}.Dockerfile'}", context=ROOT)
    return buildah.started(f"localhost/{name}")


def health_check(name: str) -> list[str]:
    """The argv of a Dockerfile's HEALTHCHECK."""
    text = (ROOT / f"docker/{name}.Dockerfile").read_text()
    found = re.search(r"^HEALTHCHECK[^\[]*CMD (\[.*\])$", text, re.MULTILINE)
    assert found
    argv: list[str] = json.loads(found[1])
    return argv


@pytest.fixture(scope="module")
def worker(buildah: Buildah) -> str:
    """A container of the worker's image."""
    return built(buildah, "worker")


def test_the_worker_s_image_is_built_and_finds_itself_well(buildah: Buildah, worker: str) -> None:
    assert "usage: " in buildah.run(worker, "python", "-m", "include.worker", "--help")
    buildah.run(worker, *health_check("worker"))
    assert buildah.run(worker, "id", "-u").strip() == "10001"
    assert buildah.run(worker, "find", "/opt", "/usr", "-writable", "-not", "-type", "l") == ""
    assert buildah.run(worker, "find", "/opt/callsheet/app/node_modules", "-name", "hls.min.js") != ""


def test_a_node_is_measured_in_the_worker_s_image_as_the_guide_s_pod_has_it(buildah: Buildah, worker: str) -> None:
    bwrap = require("bubblewrap", "apt-get install bubblewrap", shutil.which("bwrap"))
    root = buildah("mount", worker).strip()
    pod = guide_pod()
    (container,) = pod["containers"]
    user = str(pod["securityContext"]["runAsUser"])
    environment = {
        **image_environment(ROOT / "docker/worker.Dockerfile"),
        "PATH": "/opt/callsheet/venv/bin:/usr/bin:/bin",
        **{each["name"]: each["value"] for each in container["env"]},
    }

    closed = subprocess.run(
        [
            *(bwrap, "--unshare-user", "--uid", user, "--gid", user, "--cap-drop", "ALL", "--disable-userns"),
            *("--ro-bind", root, "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/scratch"),
            *("--chdir", "/scratch", "--unshare-net", "--", *container["command"]),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert closed.returncode == 0, closed.stderr
    (measured,) = [json.loads(line) for line in closed.stdout.splitlines() if line.startswith("{")]
    assert measured["samples"]


def test_airflow_s_image_is_built_and_finds_itself_well(buildah: Buildah) -> None:
    container = built(buildah, "airflow")
    home = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sqlite:////tmp/airflow.db"}

    assert buildah.run(container, "id", "-u").strip() == "50000"
    buildah.run(container, "airflow", "db", "migrate", **home)
    buildah.run(container, "callsheet", "migrate", **home)
    buildah.run(container, *health_check("airflow"), **home)
    assert "callsheet" in buildah.run(container, "airflow", "plugins", "--output=plain", **home)
    app = image_environment(ROOT / "docker/airflow.Dockerfile")["PYTHONPATH"]
    assert buildah.run(container, "find", f"{app}/node_modules", "-name", "hls.min.js") != ""
