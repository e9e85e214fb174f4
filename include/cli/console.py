"""What the command line shows to people: tables, live progress. Always on stderr or asked for; machines get JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from include.adapters.catalog.census import Counts
from include.cli.columns import aligned
from include.domain.cost.calibration import Spread
from include.domain.title.title import State
from include.services.doctor import Examination, Level

STYLES = {
    State.PUBLISHED: "green",
    State.DEGRADED: "yellow",
    State.PLAYABLE: "cyan",
    State.RUNNING: "cyan",
    State.REJECTED: "red",
    State.FAILED: "red",
    State.CANCELLED: "dim",
}

BAR = 10
"""Columns of a progress bar."""


def follow(snapshots: Iterable[list[dict[str, Any]]], console: Console) -> list[dict[str, Any]]:
    """Show the titles until they settle; returns their last state. In place on a terminal, else a line a change."""
    last: list[dict[str, Any]] = []
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            for last in snapshots:
                live.update(progress_lines(last, console.width))
        return last
    seen: dict[str, str] = {}
    for last in snapshots:
        for title in last:
            line = f"{title['request_id']}: {title['state']} {_percent(title)} {_doing(title)}".rstrip()
            if seen.get(title["request_id"]) != line:
                seen[title["request_id"]] = line
                console.print(line, markup=False, highlight=False, soft_wrap=True)
    return last


def progress_lines(titles: list[dict[str, Any]], width: int) -> RenderableType:
    """A line for each title: state, how far, what runs now as far as there is room."""
    rows = []
    for title in titles:
        done = round((title["progress"] or 0.0) * BAR)
        bar = Text.assemble(("━" * done, "green"), ("·" * (BAR - done), "dim"))
        cells = [state_text(title["state"]), bar, Text(_percent(title)), Text(_doing(title))]
        rows.append((Text(title["title_id"], style="bold"), cells))
    return Group(*aligned(("title", "state", "", "done", "now"), rows, width=width, elastic=True))


def show_batch(titles: list[dict[str, Any]], console: Console) -> None:
    """What people read first of a batch: each title's state, how far it is, when it will be done, and its deadline."""
    rows = []
    for title in titles:
        valued = title["valuation"]
        is_open = valued is not None and not State(title["state"]).final
        cells = [
            state_text(title["state"]),
            Text(_percent(title)),
            _finish_text(title, valued["admission"])
            if is_open
            else Text(f"took {_took(title)}" if _took(title) else ""),
            deadline_text(title),
        ]
        rows.append((Text(title["title_id"], style="bold"), cells))
    _print_lines(aligned(("title", "state", "done", "ETA p50–p90", "deadline"), rows, width=console.width), console)
    for title in titles:
        if title["message"]:
            _print_lines([_message(title)], console)


def show_results(titles: list[dict[str, Any]], console: Console) -> None:
    """What became of each title: time, deadline, each rung with codec, size, bit rate and VMAF, manifests."""
    for title in titles:
        name, facts = Text(title["title_id"], style="bold"), Text("  ").join(_facts(title))
        if name.cell_len + 2 + facts.cell_len > console.width:
            _print_lines([name], console)
            name = Text()
        _print_lines([Text.assemble(name, "  ", facts)], console)
        if title["rungs"]:
            table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
            for column in ("  rung", "codec", "size"):
                table.add_column(column, no_wrap=True)
            for column in ("kbit/s", "VMAF"):
                table.add_column(column, justify="right", no_wrap=True)
            for rung in reversed(title["rungs"]):
                table.add_row(*_rung_cells(rung))
            console.print(table)
        _print_lines(_where(title), console)


def show_valuation(title: dict[str, Any], console: Console) -> None:
    """What an open title is worth, when it goes and when it will be done, term by term."""
    valued = title["valuation"]
    if valued is None or State(title["state"]).final:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for name in ("score", "priority"):
        table.add_row(Text(name, style="bold"), Text(str(valued[name]["points"]), style="bold"), "")
        for term in valued[name]["terms"]:
            table.add_row(f"  {term['name']}", f"{term['points']:.0f}", Text(term["why"], style="dim"))
    quote = valued["admission"]
    if not title.get("source_known", True):
        table.add_row(Text("ETA", style="bold"), "", Text("unknown until it is inspected; this is of a typical title"))
    waiting = "" if title["released_at"] else f"{valued['ahead']} titles go before it"
    table.add_row(Text("finish", style="bold"), eta_text(quote), Text(waiting, style="dim"))
    table.add_row(Text("verdict", style="bold"), "", verdict_text(quote))
    if title["deadline"]:
        spare = Text(f"{_laxity(valued['laxity_s'])} to spare if it had its slots from now on", style="dim")
        table.add_row(Text("deadline", style="bold"), f"{_moment(title['deadline']):%m-%d %H:%M:%S}", spare)
    console.print(table)


def show_queue(queue: dict[str, Any], console: Console, *, wide: bool = False) -> None:
    """Open titles in the policy's order; with ``wide`` all that is known of their places, on a broad terminal."""
    if wide:
        console.print(_queue_table(queue))
    else:
        rows = []
        for title in queue["titles"]:
            quote = title["admission"]
            eta = _finish_text(title, quote) if quote else Text("")
            eta.stylize(verdict_text(quote).style if quote and title["deadline"] else "")
            name = Text.assemble((f"{title['place']:>3} ", "dim"), (title["request_id"], "bold"))
            rows.append((name, [_queued_state(title), Text(_percent(title)), eta]))
        _print_lines(aligned(("  # title", "state", "done", "ETA p50–p90"), rows, width=console.width), console)
    counts = queue["counts"]
    shown = f", {len(queue['titles'])} shown" if len(queue["titles"]) < counts["open"] else ""
    console.print(
        f"{counts['open']} open{shown}: {counts['waiting']} waiting, {counts['queued'] + counts['running']} running, "
        f"{counts['playable']} playable; times are UTC",
        highlight=False,
    )


def _queue_table(queue: dict[str, Any]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False)
    for name in ("#", "score", "prio"):
        table.add_column(name, justify="right", no_wrap=True)
    # On a narrow terminal words wrap, so that no column is lost: that of the titles went first.
    table.add_column("title", min_width=12, overflow="fold")
    for name, least in (("tier", 8), ("state", 8), ("deadline", 8), ("ETA p50–p90", 11), ("verdict", 10)):
        table.add_column(name, min_width=least)
    for title in queue["titles"]:
        score, priority, quote = title["score"], title["priority"], title["admission"]
        table.add_row(
            str(title["place"]),
            str(score["points"]) if score else "",
            str(priority["points"]) if priority else "",
            Text(title["request_id"]),
            title["tier"],
            _queued_state(title),
            f"{_moment(title['deadline']):%H:%M:%S}" if title["deadline"] else "",
            _finish_text(title, quote) if quote else "",
            verdict_text(quote, short=True) if quote else "",
        )
    return table


def _queued_state(title: dict[str, Any]) -> Text:
    mark = "held" if title["held"] else "pinned" if title["pinned"] else None
    return state_text(title["state"]) + (f", {mark}" if mark else "")


def show_quote(quote: dict[str, Any], console: Console) -> None:
    """What a batch would come to, and whom it would displace."""
    rows = []
    for title in quote["titles"]:
        valued = title["valuation"]
        cells = [
            Text(str(valued["score"]["points"])),
            Text(duration(valued["admission"]["work"]["p50_s"])),
            Text(str(valued["ahead"])),
            Text(f"{_moment(title['deadline']):%H:%M}" if title["deadline"] else "none"),
            _finish_text(title, valued["admission"]),
            verdict_text(valued["admission"], short=True),
        ]
        rows.append((Text(title["title_id"]), cells))
    header = ("title", "score", "work", "ahead", "due", "ETA p50–p90", "verdict")
    _print_lines(aligned(header, rows, width=console.width), console)
    console.print(
        "Nothing was entered. Work is in slot time (p50), shares are chances of a miss, times are UTC.", highlight=False
    )
    for each in quote["displaced"]:
        later = f"{each['request_id']} would be finished {duration(each['later_s'])} later"
        style = "red" if each["misses"] else ""
        console.print(Text(later + (" and miss its deadline" if each["misses"] else ""), style=style))
    if not quote["displaced"]:
        console.print("Nobody would be displaced.", highlight=False)


def show_calibration(spreads: Mapping[tuple[str, str], Spread], console: Console) -> None:
    """Factors on the prior of this machine's sample encodes: the median, which counts, and how far they lie apart."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("encoder", "preset"):
        table.add_column(name, no_wrap=True)
    for name in ("factor", "lowest", "highest", "samples"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for (encoder, preset), each in spreads.items():
        note = "" if each.counts else Text("too few to count", style="dim")
        figures = (f"{value:.2f}" for value in (each.factor, each.lowest, each.highest))
        table.add_row(encoder, preset, *figures, str(each.samples), note)
    console.print(table)


def show_examination(found: Examination, console: Console) -> None:
    """What is live, then a row for each finding: what needs an operator in red, with what to do."""
    pipelines = ", ".join(f"{name} v{version}" for name, version in found.pipelines.items())
    console.print(f"Callsheet {found.version}: {pipelines}; documents of format {found.format}", highlight=False)
    for line in _live_lines(found.live):
        console.print(Text(f"  {line}", style="dim"))
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("", "about"):
        table.add_column(name, no_wrap=True)
    table.add_column("found", overflow="fold")
    styles = {Level.OK: "green", Level.WARNING: "yellow", Level.OPERATOR: "red"}
    for finding in found.findings:
        said = Text(finding.said)
        if finding.do:
            said.append(f"\n→ {finding.do}", style="bold" if finding.level is Level.OPERATOR else "dim")
        table.add_row(Text(finding.level, style=styles[finding.level]), Text(finding.about), said)
    console.print(table)
    count = sum(finding.level is Level.OPERATOR for finding in found.findings)
    console.print(
        Text("all is well", style="green") if found.well else Text(f"{count} for an operator to do", style="red")
    )


def _live_lines(live: Counts | None) -> Iterator[str]:
    if live is None:
        return
    batches = ", ".join(f"{each.batches} of {each.pipeline} v{each.version}" for each in live.batches)
    yield f"live batches: {batches or 'none'}"
    if live.titles:
        yield "their titles: " + ", ".join(f"{count} {state}" for state, count in live.titles.items())
    for run in live.runs:
        begun = "a version that did not note which"
        if run.format is not None:
            begun = f"pipeline v{run.version}, documents of format {run.format}"
        yield f"runs under way: {run.titles}, begun by {begun}"


def eta_text(quote: dict[str, Any]) -> Text:
    """From the expected finish to the one that nine of ten keep."""
    first, last = _moment(quote["finish_p50"]), _moment(quote["finish_p90"])
    return Text(f"{first:%H:%M}–{last:%H:%M}" if first.date() == last.date() else f"{first:%d. %H:%M}–{last:%d. %H:%M}")


def _finish_text(title: dict[str, Any], quote: dict[str, Any]) -> Text:
    """:func:`eta_text` of a title, or that nobody knows: neither its request nor an inspection says how long it is."""
    # A server of an older release does not tell.
    return eta_text(quote) if title.get("source_known", True) else Text("not inspected yet")


def verdict_text(quote: dict[str, Any], *, short: bool = False) -> Text:
    """The admission's word, and the chance that it is wrong."""
    style = {"feasible": "green", "feasible_degraded": "yellow"}.get(quote["verdict"], "red")
    chance = quote["miss_chance"]
    words = quote["verdict"].replace("_", " ")
    if chance is None:
        return Text("no deadline", style="dim")
    return Text(f"{words} {chance:.0%}" if short else f"{words}, chance of a miss {chance:.1%}", style=style)


def state_text(state: str) -> Text:
    """A state in its colour."""
    return Text(state, style=STYLES.get(State(state), ""))


def deadline_text(title: dict[str, Any]) -> Text:
    """Kept, missed, or by when."""
    kept = title["deadline_kept"]
    if title["deadline"] is None:
        return Text("none", style="dim")
    if kept is None:
        return Text(f"{_moment(title['deadline']):%H:%M:%S} UTC")
    if not kept:
        return Text("missed", style="red")
    spare = (_moment(title["deadline"]) - _moment(title["playable_at"])).total_seconds()
    return Text(f"kept by {duration(spare)}", style="green")


def duration(seconds: float) -> str:
    """``95`` → ``1:35``, ``3700`` → ``1:01:40``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _rung_cells(rung: dict[str, Any]) -> tuple[str, str, str, str, str]:
    vmaf = "–" if rung["vmaf"] is None else f"{rung['vmaf']:.1f}"  # not measured, which is not 0
    return (
        "  " + rung["rendition"].partition("_")[2],
        rung["codec"],
        f"{rung['width']}×{rung['height']}",
        f"{rung['average_bandwidth'] / 1000:.0f}",
        vmaf,
    )


def _facts(title: dict[str, Any]) -> Iterator[Text]:
    """State, and what there is to say of time."""
    yield state_text(title["state"])
    valued = title["valuation"]
    if valued is not None and not State(title["state"]).final:
        if _percent(title):
            yield Text(_percent(title))
        yield Text(f"score {valued['score']['points']}")
        yield Text.assemble("ETA ", _finish_text(title, valued["admission"]))
    if _took(title):
        yield Text(f"took {_took(title)}")
    yield Text.assemble("deadline ", deadline_text(title))


def _laxity(seconds: float) -> str:
    return duration(seconds) if seconds >= 0 else f"-{duration(-seconds)}"


def _where(title: dict[str, Any]) -> Iterator[Text]:
    if title["hls"]:
        yield Text(f"  v{title['version']}")
        for name in ("hls", "dash", "preview"):
            if title[name]:
                yield Text(f"  {name:8}{title[name]}")
    if title["state"] == State.PLAYABLE:
        yield Text(f"  v{title['version']} plays with its core rungs; the full ladder follows as the next version")
    if title["message"]:
        yield _message(title)


def _message(title: dict[str, Any]) -> Text:
    return Text.assemble((title["title_id"], "bold"), f"  {title['message']}", style=STYLES.get(title["state"], ""))


def _print_lines(lines: Iterable[Text], console: Console) -> None:
    for line in lines:
        # A name or an address that is broken over two lines cannot be clicked or copied.
        console.print(line, soft_wrap=True, highlight=False)


def _took(title: dict[str, Any]) -> str:
    if not title["settled_at"]:
        return ""
    return duration((_moment(title["settled_at"]) - _moment(title["created_at"])).total_seconds())


def _percent(title: dict[str, Any]) -> str:
    return f"{100 * (title['progress'] or 0):.0f} %" if title["state"] not in {"waiting", "queued"} else ""


def _doing(title: dict[str, Any]) -> str:
    if title["now"]:
        return ", ".join(
            f"{each['stage']}{' ' + each['item'] if each['item'] else ''} {100 * each['share']:.0f} %"
            for each in title["now"]
        )
    if State(title["state"]).final:
        return title["message"] or ""
    return title["task"] or ""


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
