"""Airflow's components as the local stack runs them: the leader of its process group, started by the file's path.

``airflow standalone`` would do it too, but its scheduler and triggerer serve logs to other machines, on every address
of this one. Here the API server reads the files themselves. This process imports nothing but the standard library:
Airflow would cost it 150 MB.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import IO

DATABASE = "from airflow.utils.db import initdb; initdb()"
"""Airflow's tables, its default pool and its log templates; ``airflow db migrate`` leaves the last two out."""
COMPONENTS = {
    "scheduler": ["--skip-serve-logs"],
    "dag-processor": [],
    "api-server": [],
    "triggerer": ["--skip-serve-logs"],
}


def main() -> int:
    """Make the tables, start the components, and wait for their end; returns the exit code.

    A component that ends is not started again: the stack's health says which one is missing.
    """
    # A signal to the group reaches the components as well, and what they say while they end is still to be written:
    # with their output closed they would hang.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    made = subprocess.run([sys.executable, "-c", DATABASE], check=False)
    if made.returncode != 0:
        return made.returncode
    threads = []
    for name, options in COMPONENTS.items():
        argv = [sys.executable, "-m", "airflow", name, *options]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout is not None
        threads.append(threading.Thread(target=tell, args=(name, process.stdout)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return 0


def tell(name: str, lines: IO[bytes]) -> None:
    """Write a component's lines to the stack's log, each with the component's name before it."""
    for line in lines:
        sys.stdout.buffer.write(f"{name:13} | ".encode() + line)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
