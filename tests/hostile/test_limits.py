from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.adapters import process
from include.adapters.process import OPEN_FILES, Limits, limit_tools, run
from include.adapters.tools import ffmpeg
from include.base.errors import EXIT_CODES, EncoderCrashed, OutOfMemory, OutputTooLarge, Retry, ToolFailed, ToolTimeout
from include.base.settings import Settings
from include.stages.encode import encode
from tests.clips import Clips
from tests.titles import fast, lowest, make_title

PYTHON = sys.executable
MB = 1024**2


@pytest.fixture(autouse=True)
def small() -> Iterator[None]:
    """Limits of a small worker."""
    before = process._limits
    limit_tools(Limits(memory_mb=300, file_bytes=MB))
    yield
    process._limits = before


def test_a_tool_that_fills_its_memory_is_out_of_memory_even_where_its_exit_code_does_not_matter() -> None:
    greedy = "kept = [bytearray(10 * 1024**2) for _ in range(20)]; raise SystemExit('Cannot allocate memory')"

    with pytest.raises(OutOfMemory) as caught:
        run([PYTHON, "-c", greedy], timeout_s=30, check=False)

    assert caught.value.retry is Retry.MORE_MEMORY
    assert caught.value.exit_code == EXIT_CODES[Retry.MORE_MEMORY]


@pytest.mark.parametrize("counted", [True, False], ids=["by the kernel, for memory", "by somebody"])
def test_a_tool_that_the_kernel_kills_for_memory_is_out_of_memory(
    counted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child plays the kernel: it raises the container's count, and dies."""
    events = tmp_path / "memory.events"
    events.write_text("low 0\nmax 7\noom 2\noom_kill 2\n")
    monkeypatch.setattr(process, "MEMORY_EVENTS", events)
    count = f"open({str(events)!r}, 'w').write('oom 3\\noom_kill 3\\n'); " if counted else ""

    with pytest.raises(ToolFailed) as caught:
        run([PYTHON, "-c", f"import os; {count}os.kill(os.getpid(), 9)"], timeout_s=30, folder=tmp_path)

    assert caught.value.retry is (Retry.MORE_MEMORY if counted else Retry.TRANSIENT)
    assert caught.value.exit_code == (137 if counted else 75)


def test_a_tool_gets_no_more_than_its_memory() -> None:
    finished = run([PYTHON, "-c", "bytearray(400 * 1024**2)"], timeout_s=30, check=False)

    assert "MemoryError" in finished.stderr


def test_a_header_that_lies_about_a_size_is_no_lack_of_memory() -> None:
    # A limit as farms have it: the kernel counts what this process had at the fork among the child's peak.
    limit_tools(Limits(memory_mb=8192, file_bytes=MB))

    finished = run([PYTHON, "-c", "raise SystemExit('moov: Cannot allocate memory')"], timeout_s=30, check=False)

    assert finished.returncode == 1


def test_reserved_address_space_is_not_counted() -> None:
    reserving = "import mmap; mmap.mmap(-1, 4 * 1024**3, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ); print('well')"

    assert run([PYTHON, "-c", reserving], timeout_s=30).stdout == b"well\n"


def test_a_real_encode_without_memory_says_so() -> None:
    picture = ["-f", "lavfi", "-i", "testsrc2=size=3840x2160", "-frames:v", "60"]

    with pytest.raises(OutOfMemory):
        run([ffmpeg(Settings()), "-v", "error", *picture, "-c:v", "libx264", "-f", "null", "-"], timeout_s=60)


def test_a_file_above_its_limit_ends_the_tool_for_good(tmp_path: Path) -> None:
    output = tmp_path / "noise.nut"
    noise = ["-f", "lavfi", "-i", "testsrc2=size=320x240", "-t", "20", "-c:v", "rawvideo"]

    with pytest.raises(OutputTooLarge, match="more than 1048576 bytes") as caught:
        run([ffmpeg(Settings()), "-v", "error", *noise, str(output)], timeout_s=60, folder=tmp_path)

    assert output.stat().st_size <= MB
    assert caught.value.retry is Retry.NEVER
    assert caught.value.reason == "output_too_large"


def test_what_is_known_of_one_output_counts_instead_of_the_settings(tmp_path: Path) -> None:
    for bound, wanted in ((1000, 1000), (2 * MB, 2 * MB), (None, MB)):
        writing = f"open({str(tmp_path / 'x')!r}, 'wb').write(bytes(3 * 1024**2))"
        with pytest.raises(OutputTooLarge):
            run([PYTHON, "-c", f"import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); {writing}"],
                timeout_s=30, file_bytes=bound, folder=tmp_path)  # fmt: skip
        assert (tmp_path / "x").stat().st_size == wanted


def test_cpu_time_is_limited_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "available_cores", lambda: 0)
    with pytest.raises(ToolTimeout, match=r"^FFmpeg timeout: .* used more than 1 s of CPU time") as caught:
        run([PYTHON, "-c", "while True: pass"], timeout_s=60)

    assert caught.value.reason == "cpu_time"


def test_ffmpeg_that_is_asked_to_end_for_its_cpu_time_has_not_succeeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "available_cores", lambda: 0)
    endless = ["-f", "lavfi", "-i", "testsrc2=size=640x360", "-f", "null", "-"]

    with pytest.raises(ToolTimeout, match="CPU time"):
        run([ffmpeg(Settings()), "-nostdin", "-v", "error", *endless], timeout_s=60, check=False)


def test_no_core_is_dumped_and_open_files_are_few() -> None:
    asking = "import resource as r; print(r.getrlimit(r.RLIMIT_CORE), r.getrlimit(r.RLIMIT_NOFILE))"

    assert run([PYTHON, "-c", asking], timeout_s=30).stdout.decode() == f"(0, 0) ({OPEN_FILES}, {OPEN_FILES})\n"


def test_limits_are_the_tools_alone() -> None:
    kinds = (resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_CPU)
    before = [resource.getrlimit(kind) for kind in kinds]

    with pytest.raises(EncoderCrashed):
        run([PYTHON, "-c", "raise SystemExit(3)"], timeout_s=30)

    assert [
        resource.getrlimit(kind) for kind in (resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_CPU)
    ] == before


def test_a_line_without_end_comes_in_pieces() -> None:
    lines: list[str] = []

    run([PYTHON, "-c", "print('x' * 1_000_000)"], timeout_s=30, on_line=lines.append)

    assert max(map(len, lines)) <= process.LINE_LIMIT
    assert sum(map(len, lines)) == 1_000_000


def test_the_settings_say_how_much_memory_a_tool_may_fill() -> None:
    assert Limits.of(Settings(tool_memory_mb=512, max_file_size=7)) == Limits(memory_mb=512, file_bytes=7)
    assert Limits.of(Settings(encode_slots=100_000)).memory_mb >= 1024


def test_an_encode_that_writes_far_beyond_its_capped_rate_is_stopped(
    tmp_path: Path, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.stages.encode.ROOM_BYTES", 0)
    monkeypatch.setattr("include.stages.encode.ABOVE_THE_CAP", 0.01)

    with pytest.raises(OutputTooLarge):
        make_title(tmp_path, clips("limits_source.mp4", seconds=1, size="320x180"), change=fast)


def test_a_rendition_may_be_larger_than_any_mezzanine(tmp_path: Path, clips: Clips) -> None:
    """Twelve hours in 2160p at 16 Mbit/s are 86 GB; the limit of mezzanines is 10 GiB where nobody sets another."""
    limit_tools(Limits(memory_mb=2048, file_bytes=10 * MB))
    title = make_title(tmp_path, clips("limits_long.mp4", seconds=9, size="320x180"), change=lowest, stills=False)
    verdicts, (known,), job = title.check(), title.renditions, title.decision.jobs[0]
    title.ctx.store.delete_tree(title.ctx.kept_key("renditions"))
    most = known.size_bytes * 3 // 4
    limit_tools(Limits(memory_mb=2048, file_bytes=most))

    again = encode.function(title.ctx, title.ctx.title, title.source, title.decision, job)
    packaged = title.package(verdicts, progressive=True)

    assert again.size_bytes > most
    assert packaged.files[packaged.progressive[0]] > most
