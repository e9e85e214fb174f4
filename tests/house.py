"""``python -m tests.house``: the house rules for ``include`` that no linter has; part of ``make check``.

- A file has at most 500 lines, a function at most 60. A longer function says why in a comment ``# long: …`` on its
  first line or right above it.
- No two files import each other, on whatever way: imports for types and imports within functions count as well.
- An import of ``include`` within a function has its reason right above it.
- A name that begins with ``_`` stays in its module.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE_LINES = 500
FUNCTION_LINES = 60
LONG = "# long: "
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, kw_only=True)
class Module:
    """A file of the package."""

    name: str
    """Dotted; a package's own file has the package's name."""
    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """What Python reads."""
        return ast.parse(self.text)

    @cached_property
    def lines(self) -> list[str]:
        """The text, line by line."""
        return self.text.splitlines()

    def above(self, line: int) -> str:
        """The line above the one with this number, which counts from 1."""
        return self.lines[line - 2].strip() if line > 1 else ""


def modules(root: Path, package: str = "include") -> dict[str, Module]:
    """All files of a package by dotted name."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name=name, path=path.relative_to(root), text=path.read_text(encoding="utf-8"))
    return found


def too_long(module: Module) -> Iterator[str]:
    """Files and functions above their limits that give no reason."""
    if len(module.lines) > FILE_LINES:
        yield f"{module.path}: {len(module.lines)} lines; {FILE_LINES} are allowed"
    for node in ast.walk(module.tree):
        if not isinstance(node, FUNCTIONS):
            continue
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        explained = module.above(first).startswith(LONG) or LONG in module.lines[node.lineno - 1]
        if lines > FUNCTION_LINES and not explained:
            yield f"{module.path}:{node.lineno}: {node.name} has {lines} lines; {FUNCTION_LINES} are allowed"


def unexplained_imports(module: Module, package: str = "include") -> Iterator[str]:
    """Imports of the package within functions without a comment above the first import of their block."""
    for function in ast.walk(module.tree):
        if not isinstance(function, FUNCTIONS):
            continue
        for block in _blocks(function):
            explained = False
            for before, node in zip([None, *block], block, strict=False):
                if not isinstance(node, ast.Import | ast.ImportFrom):
                    continue
                if not isinstance(before, ast.Import | ast.ImportFrom):
                    explained = module.above(node.lineno).startswith("#")
                ours = any(name.partition(".")[0] == package for name in _imported(node))
                if ours and not explained and not module.above(node.lineno).startswith("#"):
                    yield f"{module.path}:{node.lineno}: an import within {function.name} without its reason above it"


def _blocks(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[list[ast.stmt]]:
    """The function's statements, block by block, without those of functions within it."""
    todo: list[ast.AST] = [function]
    while todo:
        node = todo.pop()
        for block in ("body", "orelse", "finalbody"):
            statements = getattr(node, block, None)
            if isinstance(statements, list):
                yield statements
        todo += [child for child in ast.iter_child_nodes(node) if not isinstance(child, (*FUNCTIONS, ast.Lambda))]


def private_names(module: Module, package: str = "include") -> Iterator[str]:
    """Names with one ``_`` in front that are taken from another module."""
    borrowed: set[str] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == package:
            for alias in node.names:
                if _private(alias.name):
                    yield f"{module.path}:{node.lineno}: {alias.name} is {node.module}'s own"
                borrowed.add(alias.asname or alias.name)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and _private(node.attr):
            owner = node.value
            if isinstance(owner, ast.Name) and owner.id in borrowed:
                yield f"{module.path}:{node.lineno}: {node.attr} is {owner.id}'s own"


def _private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Every dotted name that the statement may mean: ``from a import b`` is a name in a or the module a.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [f"{node.module}.{alias.name}" for alias in node.names]


def import_graph(known: Mapping[str, Module]) -> dict[str, set[str]]:
    """Which modules each module imports, wherever in its text."""
    graph: dict[str, set[str]] = {name: set() for name in known}
    for name, module in known.items():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for wanted in _imported(node):
                    found = wanted if wanted in known else wanted.rpartition(".")[0]
                    if found in known and found != name:
                        graph[name].add(found)
    return graph


def circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Groups of modules each of which leads back to itself, by name; Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in index:
            visit(name)
    return sorted(found)


def faults(root: Path = ROOT) -> list[str]:
    """Everything that breaks a rule, in sentences."""
    known = modules(root)
    found = [f"{' and '.join(group)} import each other" for group in circles(import_graph(known))]
    for module in known.values():
        found += [*too_long(module), *unexplained_imports(module), *private_names(module)]
    return found


def main(root: Path = ROOT) -> int:
    """Print every fault to stderr; 1 where there is one."""
    found = faults(root)
    for fault in found:
        print(f"house: {fault}", file=sys.stderr)
    print(f"house: {len(modules(root))} files, {len(found)} faults", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
