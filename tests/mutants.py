"""Tries the tests: small faults are put into the code, one at a time, and the tests that concern it have to notice.

    python -m tests.mutants [--number 320] [--seed 1] [--for-s 500] [--verdicts FILE] [--only SITE ...]

Sites are drawn at random from the modules of :data:`MODULES`, the same ones for the same seed and code. Each fault is
tried in a fork of a process that has loaded everything, and goes into that fork's memory alone: a fault within a
function replaces its code, any other has the project loaded again. Verdicts are added to a file, and what stands there
is not tried again, so that a long run can be made in parts. A tool of the shelf was tried (cosmic-ray): of its mutants
of this tree most stand in annotations, which nobody evaluates, and each starts a pytest of its own.
"""

from __future__ import annotations

import argparse
import ast
import copy
import gc
import importlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
LIMIT_S = 120.0
"""For the tests of one fault: they take seconds, unless a loop does not end any more."""
WARM = (
    "airflow.sdk.execution_time.task_runner", "alembic.config", "cryptography.x509", "httpx", "hypothesis.strategies",
    "jsonschema", "numpy", "psutil", "pydantic_settings", "rich.console", "sqlalchemy.dialects.sqlite", "typer", "yaml",
)  # fmt: skip
"""What most tests load, and nothing of this project."""
AT_ONCE = 2
TABLE = 8
"""A literal of more entries is a table of outside facts, whose numbers are not touched."""
MODULES = {
    "adapters/catalog/titles": "catalog/test_titles.py orchestration/test_dispatch.py",
    "adapters/cmaf": "media_finish/test_cmaf.py",
    "adapters/manifests/dash": "media_finish/test_cmaf.py media_finish/test_text_set.py",
    "adapters/manifests/hls": "media_finish/test_cmaf.py media_finish/test_text_set.py",
    "adapters/webhooks": "catalog/test_webhooks.py catalog/test_webhook_signature.py",
    "domain/cost/calibration": "policy/test_prior.py orchestration/test_calibration.py orchestration/test_valuation.py",
    "domain/cost/features": "policy/test_features.py policy/test_predictor.py policy/test_prior.py",
    "domain/cost/forecast": "policy/test_admission.py policy/test_backlog.py policy/test_predictor.py "
    "policy/test_valuation.py",
    "domain/cost/predictor": "policy/test_predictor.py",
    "domain/cost/prior": "policy/test_prior.py policy/test_binding.py orchestration/test_valuation.py",
    "domain/cost/rates": "policy/test_prior.py policy/test_features.py orchestration/test_valuation.py",
    "domain/cost/work": "policy/test_valuation.py policy/test_prior.py policy/test_playable.py",
    "domain/media/alignment": "domain/test_alignment.py media_finish/test_qc.py",
    "domain/media/ass_reading": "domain/test_cue_reading.py media_finish/test_captions.py",
    "domain/media/captions": "media_finish/test_captions.py domain/test_cue_reading.py",
    "domain/media/changes": "media_core/test_changes.py",
    "domain/media/choosing": "domain/test_choosing.py",
    "domain/media/clock": "media_core/test_clock.py",
    "domain/media/closed_captions": "domain/test_closed_captions.py",
    "domain/media/colour": "media_core/test_colour.py",
    "domain/media/content": "media_core/test_content.py",
    "domain/media/cue_checks": "domain/test_cue_reading.py",
    "domain/media/cue_reading": "domain/test_cue_reading.py",
    "domain/media/cue_styles": "domain/test_cue_reading.py media_finish/test_captions.py",
    "domain/media/cue_times": "domain/test_cue_reading.py",
    "domain/media/dtvcc": "domain/test_dtvcc.py",
    "domain/media/dtvcc_codes": "domain/test_dtvcc.py",
    "domain/media/dtvcc_window": "domain/test_dtvcc.py",
    "domain/media/encodings": "domain/test_encodings.py",
    "domain/media/fields": "media_core/test_fields.py",
    "domain/media/frame_rate": "media_core/test_frame_rate.py media_core/test_ladder.py",
    "domain/media/labels": "domain/test_choosing.py media_finish/test_captions.py",
    "domain/media/picture": "media_core/test_picture.py",
    "domain/media/rates": "media_core/test_rates.py",
    "domain/media/rejection": "media_core/test_rejection.py",
    "domain/media/sampling": "media_core/test_rejection.py",
    "domain/media/sprites": "media_finish/test_images.py",
    "domain/order/admission": "policy/test_admission.py policy/test_valuation.py catalog/test_queue.py",
    "domain/order/backlog": "policy/test_backlog.py policy/test_valuation.py",
    "domain/order/parallel": "policy/test_parallel.py policy/test_valuation.py",
    "domain/order/priority": "policy/test_priority.py",
    "domain/order/promises": "policy/test_promises.py policy/test_valuation.py simulation/test_promises_kept.py",
    "domain/order/valuation": "policy/test_valuation.py policy/test_playable.py",
    "domain/order/value": "policy/test_value.py",
    "domain/outcome/report": "media_finish/test_package.py",
    "domain/outcome/rules": "media_finish/test_qc.py",
    "domain/outcome/settlement": "domain/test_settlement.py",
    "domain/plan/binding": "policy/test_binding.py policy/test_playable.py media_core/test_options.py",
    "domain/plan/decide": "media_core/test_ladder.py policy/test_binding.py policy/test_playable.py",
    "domain/plan/degradation": "policy/test_degradation.py policy/test_binding.py domain/test_settlement.py",
    "domain/plan/editions": "policy/test_playable.py",
    "domain/plan/footprint": "domain/test_footprint.py policy/test_predictor.py",
    "domain/plan/plan": "media_core/test_ladder.py media_core/test_options.py policy/test_binding.py",
    "domain/plan/presets": "policy/test_presets.py",
    "domain/recipe/codecs": "media_core/test_codecs.py media_core/test_rate_control.py",
    "domain/recipe/rate_control": "media_core/test_rate_control.py media_core/test_ladder.py",
    "domain/recipe/rungs": "media_core/test_ladder.py media_core/test_rate_control.py policy/test_features.py",
    "domain/recipe/tiers": "media_core/test_ladder.py media_core/test_recipes.py",
    "domain/recipe/treatment": "media_core/test_ladder.py media_finish/test_qc.py",
    "domain/telling/alerts": "catalog/test_ledger.py catalog/test_alert_groups.py catalog/test_slack.py",
    "domain/telling/digest": "policy/test_digest.py catalog/test_slack.py",
    "domain/telling/retries": "catalog/test_outbox.py",
    "domain/telling/webhooks": "catalog/test_webhook_signature.py catalog/test_webhooks.py",
    "domain/title/request": "domain/test_request.py policy/test_value.py",
    "domain/title/steering": "catalog/test_queue.py",
    "domain/title/work": "frame/test_runner.py catalog/test_doctor.py",
    "orchestration/weights": "orchestration/test_weights.py",
    "services/release": "orchestration/test_dispatch.py orchestration/test_arrivals.py",
    "stages/verify_source": "media_core/test_verify_source.py",
}
"""Paths beneath ``include``, without their ending, and the tests that concern each, the quickest first."""
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift,
}  # fmt: skip
EXTREMES = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One small change of a module."""

    module: str
    """Path beneath ``include``, without its ending."""
    node: int
    """Position in the order of :func:`ast.walk`."""
    line: int
    before: str
    after: str

    @property
    def site(self) -> str:
        """Names it on the command line and in the file of verdicts."""
        return f"{self.module}:{self.node}"


def faults_of(module: str) -> list[Fault]:
    """All faults of a module."""
    tree = _tree(module)
    passed_over = _passed_over(tree)
    found: list[Fault] = []
    for position, node in enumerate(ast.walk(tree)):
        changed = copy.copy(node)
        if id(node) not in passed_over and _changed(changed):
            line, before = getattr(node, "lineno", 0), ast.unparse(node)
            found.append(Fault(module=module, node=position, line=line, before=before, after=ast.unparse(changed)))
    return found


def text_with(fault: Fault) -> str:
    """The module's text with the fault in it."""
    tree = _tree(fault.module)
    _changed(next(node for position, node in enumerate(ast.walk(tree)) if position == fault.node))
    return ast.unparse(tree)


def _tree(module: str) -> ast.Module:
    return ast.parse((ROOT / "include" / f"{module}.py").read_text())


def _changed(node: ast.AST) -> bool:
    """Put the fault into a node; False where there is none for it."""
    match node:
        case ast.Compare(ops=[first, *_]) if type(first) in COMPARISONS:
            node.ops = [COMPARISONS[type(first)](), *node.ops[1:]]
        case ast.BinOp() if type(node.op) in ARITHMETIC:
            node.op = ARITHMETIC[type(node.op)]()
        case ast.BoolOp():
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        case ast.UnaryOp(op=ast.Not()):
            node.operand = ast.UnaryOp(op=ast.Not(), operand=node.operand)
        case ast.UnaryOp(op=ast.USub()):
            node.op = ast.UAdd()
        case ast.Constant(value=bool()):
            node.value = not node.value
        case ast.Constant(value=int() | float()):
            node.value = node.value + 1
        case ast.Name(id=name) if name in EXTREMES:
            node.id = EXTREMES[name]
        case ast.IfExp():
            node.body, node.orelse = node.orelse, node.body
        case ast.Return(value=ast.expr()) if not isinstance(node.value, ast.Constant):
            node.value = ast.Constant(value=None)
        case _:
            return False
    return True


def _passed_over(tree: ast.AST) -> set[int]:
    """Nodes in annotations, which nobody evaluates or which a type checker reads, and in tables of facts."""
    found: set[int] = set()
    for node in ast.walk(tree):
        annotations = [getattr(node, name, None) for name in ("annotation", "returns")]
        size = len(getattr(node, "elts", getattr(node, "keys", ()))) if isinstance(node, ast.expr) else 0
        tables = [node] if size > TABLE else []
        for part in (*annotations, *tables):
            if part is not None:
                found.update(id(each) for each in ast.walk(part))
    return found


def drawn(number: int, seed: int) -> list[Fault]:
    """So many faults of all modules, at random."""
    every = [fault for module in MODULES for fault in faults_of(module)]
    return random.Random(seed).sample(every, min(number, len(every)))


def load_all(home: str) -> None:
    """Load the libraries and what the tests load of this project.

    Args:
        home: Folder for Airflow, which writes its configuration when it is loaded.
    """
    os.environ |= {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    for name in WARM:
        importlib.import_module(name)
    for name in sorted({name for tests in MODULES.values() for name in tests.split()}):
        for module in re.findall(r"^from (include[\w.]*) import", (ROOT / "tests" / name).read_text(), re.MULTILINE):
            importlib.import_module(module)


def put_in(fault: Fault) -> None:
    """Put the fault into this process: the function that has it gets its new code, wherever it was imported."""
    path, function = str(ROOT / "include" / f"{fault.module}.py"), _function_at(fault)
    code = next(each for each in _within(compile(text_with(fault), path, "exec")) if each.co_qualname == function)
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and each.__code__.co_filename == path and each.__qualname__ == function:
            each.__code__ = code


def put_in_anew(fault: Fault) -> None:
    """Put a fault that is in no function into this process: what there is of this project is loaded again."""
    path = str(ROOT / "include" / f"{fault.module}.py")
    code, plain = compile(text_with(fault), path, "exec"), SourceFileLoader.get_code

    def get_code(loader: SourceFileLoader, fullname: str) -> CodeType | None:
        return code if loader.path == path else plain(loader, fullname)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign]  # this process ends with the tests
    for name in [name for name in sys.modules if name.partition(".")[0] in {"include", "tests"}]:
        del sys.modules[name]


def _function_at(fault: Fault) -> str | None:
    """Qualified name of the outermost function that has the fault in its body; None where it is in none."""
    tree = _tree(fault.module)
    node = next(each for position, each in enumerate(ast.walk(tree)) if position == fault.node)
    for each in tree.body:
        for function in each.body if isinstance(each, ast.ClassDef) else [each]:
            if not isinstance(function, ast.FunctionDef):
                continue
            if any(part is node for line in function.body for part in ast.walk(line)):
                return f"{each.name}.{function.name}" if isinstance(each, ast.ClassDef) else function.name
    return None


def _within(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from _within(each)


class Trial:
    """A plugin of pytest: its tests are collected once, and run in a fork for each fault."""

    def __init__(self, module: str, faults: list[Fault], keep: Path, *, end: float) -> None:
        """Args: what is tried, where verdicts are kept, and the time at which no more is begun."""
        self.module, self.faults, self.keep, self.end = module, faults, keep, end

    def pytest_runtestloop(self) -> bool | None:
        """In the forks pytest's own loop runs; here it is passed over."""
        for fault in (None, *self.faults):
            if time.monotonic() > self.end:
                return True
            child = os.fork()
            if child == 0:
                os.setpgid(0, 0)
                if fault:
                    put_in(fault)
                return None
            verdict = awaited(child)
            note(self.keep, self.module, fault, verdict)
            if fault is None and verdict != "survived":
                return True
        return True


def run_tests(module: str, *plugins: Trial) -> None:
    """Run the tests of a module; this process ends with them."""
    for number in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    # The same statements on another database are slow, and not what is asked here.
    quiet = [
        "-x",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "-W",
        "ignore",
        "--hypothesis-seed=0",
        "-k",
        "not postgresql",
    ]
    code = pytest.main([*quiet, *(f"tests/{name}" for name in MODULES[module].split())], plugins=list(plugins))
    os._exit(int(code))


def awaited(child: int) -> str:
    """How a fork ended: ``killed`` where a test failed, ``timeout`` where they did not end, else ``survived``."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return "killed" if os.waitstatus_to_exitcode(status) else "survived"
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def note(keep: Path, module: str, fault: Fault | None, verdict: str) -> None:
    """Add a verdict to the file; one without a fault stands under the module's name."""
    said = {"site": fault.site if fault else module, "verdict": verdict, **(asdict(fault) if fault else {})}
    with keep.open("a") as output:
        output.write(json.dumps({name: str(value)[:200] for name, value in said.items()}) + "\n")


def try_module(module: str, faults: list[Fault], keep: Path, *, end: float) -> None:
    """Try the faults of one module, in forks of this process, which ends with that."""
    for fault in faults:
        if _function_at(fault) is None and time.monotonic() < end:
            child = os.fork()
            if child == 0:
                os.setpgid(0, 0)
                put_in_anew(fault)
                run_tests(module)
            note(keep, module, fault, awaited(child))
    within = [fault for fault in faults if _function_at(fault) is not None]
    run_tests(module, Trial(module, within, keep, end=end))


def _read(keep: Path) -> dict[str, Any]:
    lines = keep.read_text().splitlines() if keep.exists() else []
    return {said["site"]: said for said in map(json.loads, lines)}


def main() -> int:
    """Try the faults for which there is time; one line for each that no test noticed. Returns 1 where there is one."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("--number", type=int, default=320)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--for-s", type=float, default=3600.0, help="no fault is begun later than this many seconds")
    parser.add_argument("--verdicts", type=Path, default=Path(tempfile.gettempdir()) / "callsheet-mutants.jsonl")
    parser.add_argument("--only", nargs="*", help="sites, as the verdicts name them: tried whatever stands there")
    asked = parser.parse_args()
    end = time.monotonic() + asked.for_s
    faults = [each for each in drawn(asked.number, asked.seed) if not asked.only or each.site in asked.only]
    known = _read(asked.verdicts)
    todo = [fault for fault in faults if asked.only or fault.site not in known]
    with tempfile.TemporaryDirectory(prefix="callsheet-mutants-") as folder:
        load_all(folder)
        running: set[int] = set()
        for module in dict.fromkeys(fault.module for fault in todo):
            if len(running) == AT_ONCE:
                running.remove(os.wait()[0])
            child = os.fork()
            if child == 0:
                try_module(module, [fault for fault in todo if fault.module == module], asked.verdicts, end=end)
            running.add(child)
        for child in running:
            os.waitpid(child, 0)
    known = _read(asked.verdicts)
    verdicts = [known[fault.site] for fault in faults if fault.site in known]
    for each in verdicts:
        if each["verdict"] == "survived":
            print(f"{each['site']} line {each['line']}: {each['before']} -> {each['after']}".replace("\n", " "))
    broken = [site for site, said in known.items() if site in MODULES and said["verdict"] != "survived"]
    if broken:
        parser.error(f"their tests fail, or do not end, without any fault: {', '.join(broken)}")
    count = Counter(each["verdict"] for each in verdicts)
    print(f"{len(verdicts)} of {len(faults)} tried: {dict(count)}", file=sys.stderr)
    return 1 if count["survived"] else 0


if __name__ == "__main__":
    sys.exit(main())
