"""Captions of CEA-708 (DTVCC) decoded to cues, as CTA-708 describes packets, services, windows and their codes.

The bytes come with pictures, in ATSC A/53 user data. Triplets of type 3 and 2 make packets, packets hold blocks of
services, and the blocks of a service are one stream of codes that write into windows. What the visible windows show
after a picture is what a viewer sees from that picture on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from include.domain.media.ass_reading import once
from include.domain.media.captions import Cue, clean_cue
from include.domain.media.dtvcc_codes import (
    CLW,
    CW0,
    DF0,
    DLC,
    DLW,
    DLY,
    DSW,
    RST,
    SPA,
    SPL,
    SWA,
    TGW,
    character,
    code_length,
)
from include.domain.media.dtvcc_window import Window

SERVICES = range(1, 7)
"""Services that receivers offer; the standard knows 63. Service 1 is the primary one."""
WINDOWS = 8
BUFFER_BYTES = 128
"""Of a service: a delay ends when it is full."""
MAX_CUES = 60_000
MAX_CHARACTERS = 4 * 1024**2
"""Of a service, as of every track; what comes later is left out."""
GROWING_MS = 1000
"""Text that goes on within this time belongs to its cue: captions are written letter by letter or word by word."""
SETTLING_MS = 100
"""Windows that come within this time of each other are shown together."""
TOP_HALF = "line:0"
_TRIPLET = 3


@dataclass(kw_only=True)
class _Shown:
    """Half of the screen: what it shows, and since when."""

    settings: str
    plain: str = ""
    text: str = ""
    since_ms: int = 0
    changed_ms: int = 0

    def change(self, plain: str, text: str, now_ms: int) -> Cue | None:
        """Show this from now on; returns the cue that has ended, if one has."""
        if (plain, text) == (self.plain, self.text):
            return None
        if self.plain and self._grows(plain, now_ms):
            self.plain, self.text, self.changed_ms = plain, text, now_ms
            return None
        # What began before the title is shown from its beginning.
        ended = clean_cue(start_ms=max(0, self.since_ms), end_ms=now_ms, text=self.text, settings=self.settings)
        self.plain, self.text, self.since_ms, self.changed_ms = plain, text, now_ms, now_ms
        return ended

    def _grows(self, plain: str, now_ms: int) -> bool:
        if plain.startswith(self.plain):
            # Another row belongs to it only near its beginning: a screen that fills up is not shown full at once.
            last = self.changed_ms if plain.count("\n") == self.plain.count("\n") else self.since_ms
            return now_ms - last <= GROWING_MS
        return self.plain in plain and now_ms - self.since_ms <= SETTLING_MS


@dataclass(kw_only=True)
class _Service:
    """The windows of a service, and what of its codes has not been read yet."""

    windows: dict[int, Window] = field(default_factory=dict)
    current: int = -1
    pending: bytearray = field(default_factory=bytearray)
    resume_ms: int | None = None
    """When a delay ends."""
    changed: bool = False
    cues: list[Cue] = field(default_factory=list)
    characters: int = 0
    cut: bool = False
    """Whether cues were left out."""
    halves: tuple[_Shown, _Shown] = field(default_factory=lambda: (_Shown(settings=TOP_HALF), _Shown(settings="")))

    def take(self, data: bytes, now_ms: int) -> None:
        """The bytes of one block."""
        self.pending += data
        if self.resume_ms is not None:
            self._cut_delay_short()
        self.read(now_ms)

    def read(self, now_ms: int) -> None:
        """Read what is there, up to a delay that has not ended or a code that is not whole."""
        while True:
            if self.resume_ms is not None:
                if now_ms < self.resume_ms and len(self.pending) < BUFFER_BYTES:
                    return
                self.resume_ms = None
            length = code_length(self.pending)
            if length is None or length > len(self.pending):
                return
            code, parameters = self.pending[0], bytes(self.pending[1:length])
            del self.pending[:length]
            self.changed = True
            if code == DLY:
                self.resume_ms = now_ms + parameters[0] * 100
            else:
                self._apply(code, parameters)

    def forget(self) -> None:
        """Drop what was half read: bytes are missing behind it."""
        self.pending.clear()
        self.resume_ms = None

    def show(self, now_ms: int) -> None:
        """What is to be seen from now on."""
        self.changed = False
        seen = sorted((each for each in self.windows.values() if each.visible), key=Window.place)
        for half in self.halves:
            lines = [each.lines() for each in seen if bool(half.settings) == (each.middle() < 0.5)]
            plain, text = ([line for each in lines for line in each[which]] for which in (0, 1))
            ended = half.change("\n".join(plain), "\n".join(text), now_ms)
            if ended is not None:
                self._keep(ended)

    def _keep(self, cue: Cue) -> None:
        self.characters += len(cue.text)
        self.cut = self.cut or len(self.cues) >= MAX_CUES or self.characters > MAX_CHARACTERS
        self.cues += [] if self.cut else [cue]

    def _cut_delay_short(self) -> None:
        """Within a delay DelayCancel and Reset are heeded at once."""
        start = 0
        while (length := code_length(self.pending[start:])) and start + length <= len(self.pending):
            code = self.pending[start]
            if code in {DLC, RST}:
                # A reset takes with it what was waiting.
                del self.pending[: start if code == RST else 0]
                self.resume_ms = None
                return
            start += length

    def _apply(self, code: int, parameters: bytes) -> None:
        window = self.windows.get(self.current)
        if CW0 <= code < 0xA0:
            self._control(code, parameters, window)
        elif window is not None:
            text = character(code, parameters)
            if text is not None:
                window.write(text)
            elif code in _C0:
                _C0[code](window)

    def _control(self, code: int, parameters: bytes, window: Window | None) -> None:
        number = code & 0x07
        if code < CLW:
            self.current = number
        elif code <= DLW:
            for each in range(WINDOWS):
                if parameters[0] >> each & 1 and each in self.windows:
                    self._change(code, each)
        elif code == RST:
            self.windows.clear()
            self.current = -1
        elif code >= DF0:
            self.windows.setdefault(number, Window()).define(parameters)
            self.current = number
        elif window is not None and code == SPA:
            window.set_pen(parameters)
        elif window is not None and code == SPL:
            window.place_pen(parameters[0] & 0x0F, parameters[1] & 0x3F)
        elif window is not None and code == SWA:
            window.set_attributes(parameters)

    def _change(self, code: int, number: int) -> None:
        """ClearWindows, DisplayWindows, HideWindows, ToggleWindows or DeleteWindows for one window."""
        window = self.windows[number]
        if code == CLW:
            window.clear()
        elif code == DLW:
            del self.windows[number]
        else:
            window.visible = not window.visible if code == TGW else code == DSW


_C0 = {0x08: Window.backspace, 0x0C: Window.clear, 0x0D: Window.carriage_return, 0x0E: Window.erase_line}


@dataclass(frozen=True, kw_only=True)
class ServiceCues:
    """The captions of one service."""

    cues: list[Cue]
    cut: bool
    """Whether there were more than a track may have; those are left out."""


@dataclass(kw_only=True)
class DtvccDecoder:
    """Takes the caption data of pictures in the order of presentation, and gives the cues of services 1 to 6."""

    packets: int = 0
    """How many came whole."""
    _packet: bytearray = field(default_factory=bytearray)
    _wanted: int = 0
    """Bytes of the packet that is being gathered; 0 between packets."""
    _sequence: int | None = None
    _services: dict[int, _Service] = field(default_factory=lambda: {number: _Service() for number in SERVICES})

    def picture(self, triplets: bytes, now_ms: int) -> None:
        """The triplets of one picture (flags and two bytes each), which is shown at this time."""
        for start in range(0, len(triplets) - _TRIPLET + 1, _TRIPLET):
            flags = triplets[start]
            if flags & 0x06 == 0x06:
                self._gather(triplets[start + 1 : start + _TRIPLET], now_ms, begins=bool(flags & 0x01))
        for service in self._services.values():
            if service.resume_ms is not None:
                service.read(now_ms)
            if service.changed:
                service.show(now_ms)

    def finish(self, end_ms: int) -> dict[int, ServiceCues]:
        """What each service has shown, by its number; what is still there ends now, in milliseconds."""
        for service in self._services.values():
            service.windows.clear()
            service.show(end_ms)
        return {
            number: ServiceCues(cues=once(service.cues), cut=service.cut)
            for number, service in self._services.items()
            if service.cues
        }

    def _gather(self, pair: bytes, now_ms: int, *, begins: bool) -> None:
        if begins:
            # The size counts pairs, its own header included; 0 stands for the largest.
            self._wanted = 2 * (pair[0] & 0x3F or 64)
            self._packet = bytearray(pair)
        elif self._wanted:
            self._packet += pair
        if self._wanted and len(self._packet) >= self._wanted:
            self._wanted = 0
            self._read_packet(bytes(self._packet), now_ms)

    def _read_packet(self, packet: bytes, now_ms: int) -> None:
        self.packets += 1
        sequence = packet[0] >> 6
        if self._sequence is not None and sequence != (self._sequence + 1) % 4:
            for service in self._services.values():
                service.forget()
        self._sequence = sequence
        at = 1
        while at < len(packet):
            number, size = packet[at] >> 5, packet[at] & 0x1F
            at += 1
            if number == 7 and size and at < len(packet):
                number = packet[at] & 0x3F
                at += 1
            if number == 0:
                # The rest is padding.
                return
            if number in self._services:
                self._services[number].take(packet[at : at + size], now_ms)
            at += size
