from __future__ import annotations

from pathlib import Path

import pytest

from tests import house

LONG_BODY = "\n".join(["    x = 1"] * house.FUNCTION_LINES)


def project(folder: Path, **files: str) -> Path:
    for name, text in {"__init__": "", **files}.items():
        path = folder / "include" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_include_keeps_the_rules() -> None:
    assert len(house.modules(house.ROOT)) > 200
    assert house.faults() == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x = 1\n" * 501, "include/a.py: 501 lines; 500 are allowed"),
        (f"def f():\n{LONG_BODY}\n", "include/a.py:1: f has 61 lines; 60 are allowed"),
        (f"class C:\n  async def f(self):\n{LONG_BODY}\n", "include/a.py:2: f has 61 lines; 60 are allowed"),
        ("from include.b import _own\n", "include/a.py:1: _own is include.b's own"),
        ("from include import b\n\nb._own()\n", "include/a.py:3: _own is b's own"),
        ("def f():\n    from include import b\n", "include/a.py:2: an import within f without its reason above it"),
        (
            "def f():\n    if 1:\n        x = 2\n        import include.b\n",
            "include/a.py:4: an import within f without its reason above it",
        ),
    ],
)
def test_what_breaks_a_rule_is_named(tmp_path: Path, text: str, fault: str) -> None:
    assert house.faults(project(tmp_path, a=text, b="")) == [fault]


@pytest.mark.parametrize(
    "text",
    [
        f"# long: one table.\ndef f():\n{LONG_BODY}\n",
        f"# long: one table.\n@cache\ndef f():\n{LONG_BODY}\n",
        f"def f():  # long: one table.\n{LONG_BODY}\n",
        "def f():\n" + "    x = 1\n" * 59,
        "def f():\n    # b is heavy.\n    import sys\n\n    from include import b\n",
        "from include.b import __doc__, own\n\n\nclass C:\n    def f(self):\n        return self._own\n",
        "def f():\n    import sys\n",
    ],
)
def test_what_keeps_the_rules_or_says_why_not_passes(tmp_path: Path, text: str) -> None:
    assert house.faults(project(tmp_path, a=text, b="")) == []


@pytest.mark.parametrize(
    "way",
    [
        "from include.a import x\n",
        "from include import a\n",
        "import include.a\n",
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from include.a import x\n",
        "def f():\n    # Late.\n    from include.a import x\n",
    ],
)
def test_modules_that_import_each_other_are_found_on_whatever_way(tmp_path: Path, way: str) -> None:
    root = project(tmp_path, a="from include.b import y\n", b="from include.c import z\n", c=way)

    assert house.faults(root) == ["include.a and include.b and include.c import each other"]


def test_the_command_tells_faults_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert house.main(project(tmp_path, a="from include.b import _own\n", b="")) == 1
    assert "house: include/a.py:1: _own is include.b's own" in capsys.readouterr().err
    assert house.main(project(tmp_path, a="")) == 0
