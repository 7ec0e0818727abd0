"""HttpProtocol: one connection, with the bounds and deadlines that uvicorn has not.

What comes in is cut before the parser sees it: one head, its body, and nothing more until that request is answered. So
heads have a size and a deadline, requests that are sent ahead wait as bytes, and malformed ones are told why.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Literal

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from brain_http_api.heads import EMPTY_LINES, UPGRADE, doubt_of, length_of
from brain_http_api.problems import Problem
from brain_http_api.targets import judged_target
from brain_http_api.wire import Wire, answer_of, plain_address

if TYPE_CHECKING:
    from uvicorn.config import Config

    from brain_http_api.settings import HttpApiSettings

logger = logging.getLogger("brain.http_api")

LINGER = 1.0
"""Seconds for which a connection is still read from after an answer that the client may not expect to be the last:
what it sends and nobody reads would destroy that answer on its way."""
SLOWEST = 8 * 1024
"""Bytes a second: whoever reads an answer more slowly has stopped."""
_LAST_LOOK = 0.05
_PIECE = 16 * 1024

# What uvicorn would say of connections is said by us, or in an answer.
_SILENT = logging.Logger("silent", logging.CRITICAL + 1)


class Wires(ServerState):
    """The connections of a server. `refused` are those beyond the bound, which are told so and closed."""

    def __init__(self, settings: HttpApiSettings) -> None:
        super().__init__()
        self.settings = settings
        self.refused: set[HttpProtocol] = set()
        self.changed = asyncio.Event()

    @property
    def ours(self) -> list[HttpProtocol]:
        return [connection for connection in self.connections if isinstance(connection, HttpProtocol)]

    def unread(self) -> int:
        """Return how many bytes of answers have not gone out: with each client that does not read, they wait here."""
        return sum(connection._wire.unsent for connection in self.ours)


class HttpProtocol(HttpToolsProtocol):
    """A connection. One that is `full` is one too many."""

    def __init__(self, config: Config, wires: Wires, *, full: bool = False) -> None:
        super().__init__(config, wires, {})
        self.logger = _SILENT
        self.access_log = False
        self._wires = wires
        self._settings = wires.settings
        self._full = full
        self._pending = bytearray()
        self._searched = 0
        self._line_seen = False
        self._stage: Literal["head", "body", "answer"] = "head"
        self._headed = self._whole = self._surplus = False
        self._left: int | None = None
        self._barren = 0
        self._problem: Problem | None = None
        self.ended = self._closing = self._persists = self._lingers = False
        self._seen_under_way = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._real = transport
        self._wire = Wire(transport, self, self.loop)
        super().connection_made(self._wire)
        self.client = plain_address(self.client)
        if self._full:
            self._wires.connections.discard(self)
            self._wires.refused.add(self)
            self.refuse(Problem(503, "busy", "too many connections at once; try again later"))
        else:
            self._await_rest()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._cancel_deadline()
        self._cancel_write_deadline()
        self._pending.clear()
        self._wire.forget()
        self._wires.refused.discard(self)
        self._wires.changed.set()

    def eof_received(self) -> bool:  # type: ignore[override]
        if self.ended:
            self._close()
        self.end(linger=False)
        # Closed by us, when the answer has gone out; with TLS, the other direction ends with this one.
        return self.scheme == "http"

    def data_received(self, data: bytes) -> None:
        if not self.ended:
            self._pending += data
            self._go_on()

    def _go_on(self) -> None:
        self._unset_keepalive_if_required()
        while self._pending and not self.ended:
            if self._stage == "answer":
                if len(self._pending) > HIGH_WATER_LIMIT:
                    self.flow.pause_reading()
                return
            if self._stage == "body":
                self._take_body()
            elif not self._take_head():
                break
        if self._deadline is None and self._stage != "answer" and not self.ended:
            self._await_rest()

    def _go_on_with_next(self) -> None:
        if self._pending and self._stage == "head":
            self._go_on()

    def _take_head(self) -> bool:
        """Hand a head that is there as a whole to the parser; return whether there was one."""
        pending = self._pending
        if pending.startswith(b"\r\n") and (empty := EMPTY_LINES.match(pending)):
            # They are allowed between requests (RFC 9112, 2.2).
            del pending[: empty.end()]
        if not pending or pending == b"\r":
            return False
        if not self._line_seen:
            if doubt := doubt_of(pending):
                self.refuse(Problem(400, "bad-request", doubt))
                return False
            self._line_seen = b"\n" in pending
        end = pending.find(b"\r\n\r\n", self._searched)
        if (len(pending) + 1 if end < 0 else end + 4) > self._settings.max_header:
            detail = f"request line and headers are larger than {self._settings.max_header} bytes"
            self.refuse(Problem(431, "headers-too-large", detail))
            return False
        if end < 0:
            self._searched = max(0, len(pending) - 3)
            return False
        head = bytes(pending[: end + 4])
        del pending[: end + 4]
        self._searched, self._line_seen = 0, False
        self._cancel_deadline()
        # Upgrades are not offered, which is said by not mentioning them; the parser would stop at them.
        self._feed(UPGRADE.sub(b"", head))
        self._stage = "answer" if self._whole else "body"
        return True

    def _take_body(self) -> None:
        size = _PIECE if self._left is None else min(self._left, _PIECE)
        piece = bytes(self._pending[:size])
        del self._pending[:size]
        self._barren += len(piece)
        if self._left is not None:
            self._left -= len(piece)
        self._feed(piece)
        if self._left is None and self._barren > max(_PIECE, self._settings.max_header):
            self.refuse(Problem(431, "headers-too-large", "what comes between or after the chunks is too large"))
        elif self._whole:
            self._stage = "answer"
            self._cancel_deadline()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if isinstance(error, httptools.HttpParserCallbackError):
                logger.exception("a request could not be taken")
            if self._whole:
                self._surplus = True
            else:
                self._problem = self._problem or Problem(400, "bad-request", f"the request is malformed: {error}")
        if self._problem is not None:
            self.refuse(self._problem)
        elif self._surplus:
            # Sent ahead after chunks, in one piece with them: where it begins is not known. The client sends it again
            # when this connection is closed after the answer.
            self.cycle.keep_alive = False

    # What the parser has found.

    def on_message_begin(self) -> None:
        if self._stage == "body":
            self._surplus = True
        else:
            self._headed = self._whole = False
            self._left, self._barren = None, 0
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._surplus:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # What follows the chunks are no headers of the request, whatever their names.
        if not self._headed:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._surplus:
            return
        self._headed = True
        try:
            old = self.parser.get_http_version() == "1.0"
            self._left = length_of(self.headers, old=old)
            self.expect_100_continue = self.expect_100_continue and not old
            self.url = judged_target(self.parser.get_method(), self.url)
        except Problem as problem:
            self._problem = problem
        else:
            self._wire.hold()
            super().on_headers_complete()
            self._persists = self.cycle.keep_alive

    def on_body(self, body: bytes) -> None:
        if not self._surplus:
            self._barren = 0
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._surplus and self._problem is None:
            self._whole = True
            super().on_message_complete()

    def on_response_complete(self) -> None:
        if not self._whole:
            self.end()
        if not self.ended:
            self._stage = "head"
            self._seen_under_way = 0
            super().on_response_complete()
            if self._pending:
                self._unset_keepalive_if_required()
                self.loop.call_soon(self._go_on_with_next)

    # The ends of a connection.

    def refuse(self, problem: Problem) -> None:
        """Answer outside of any application and close the connection; nothing when it has begun to answer."""
        logger.debug("%s: %d %s", self.client, problem.status, problem.detail)
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.end(linger=False)
                return
        self._wire.write(answer_of(problem))
        self.end(linger=True)

    def end(self, *, linger: bool | None = None) -> None:
        """Close as soon as what is written has gone out, or is not read as `_written` asks for.

        Where the client may still send (`linger`; unless given, when its request is not there as a whole, or it was not
        the one to end the connection), what comes is read for a moment after that, and thrown away.
        """
        if self.ended:
            return
        self.ended = True
        self._wire.flush()
        self._unset_keepalive_if_required()
        self._cancel_deadline()
        self._pending.clear()
        if linger is None:
            on_its_way = self._stage == "answer" or self._wire.under_way > 0
            linger = self._stage == "body" or (self._persists and on_its_way)
        self._lingers = linger
        self._finish()

    def _finish(self) -> None:
        if self._lingers:
            self.flow.resume_reading()
            if not self.flow.write_paused:
                if self._real.can_write_eof():
                    self._real.write_eof()
                self._linger(self._settings.send_timeout)
        else:
            self._close()

    def _linger(self, left: float) -> None:
        seconds = min(LINGER, left)
        self._deadline = self.loop.call_later(seconds, self._lingered, left - seconds)

    def _lingered(self, left: float) -> None:
        if left > 0 and self._wire.under_way:
            self._linger(left)
        else:
            self._close()

    def _close(self) -> None:
        self._cancel_deadline()
        waited, self._closing = self._closing, True
        if not self.flow.write_paused:
            seconds = self._settings.send_timeout
            if not (waited or self._stage == "answer" or self._wire.under_way):
                # Nothing is left but the end of TLS, which many never answer.
                seconds = min(LINGER, seconds)
            if not self._real.is_closing():
                self._real.close()  # once: one of TLS that is closed twice can be asked nothing any more, nor ended
            self._deadline = self.loop.call_later(seconds, self._real.abort)

    def cut(self) -> None:
        """Close at once, whatever is going on."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        self._real.abort()

    def shutdown(self) -> None:
        """Close after the answer that is in hand; when there is none, after a last look for a request on its way."""
        if self.ended:
            return
        if self._stage != "head":
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(_LAST_LOOK, self._end_if_idle)

    def _end_if_idle(self) -> None:
        if self._stage == "head" and not self._pending:
            self.end()

    def timeout_keep_alive_handler(self) -> None:
        """Close what is idle: nothing is that still reads its last answer."""
        before, self._seen_under_way = self._seen_under_way, self._wire.under_way
        least = SLOWEST * self._settings.idle_timeout
        if self._seen_under_way and (not before or before - self._seen_under_way >= least):
            again = self.loop.call_later(self._settings.idle_timeout, self.timeout_keep_alive_handler)
            self.timeout_keep_alive_task = again
        else:
            self._end_if_idle()

    # Deadlines.

    def _await_rest(self) -> None:
        """Wait for what is missing of a head or a body, from now on; one that has come at once costs no timer."""
        settings = self._settings
        seconds = settings.header_timeout if self._stage == "head" else settings.body_timeout
        self._deadline = self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        if self._stage == "body":
            self.refuse(Problem(408, "timeout", "the body did not arrive in time"))
        elif self._pending:
            self.refuse(Problem(408, "timeout", "request line and headers did not arrive in time"))
        else:
            self.end()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wire.pause()
        if self._write_deadline is None:
            self._watch_writing()

    def resume_writing(self) -> None:
        if self._wire.resume():
            super().resume_writing()
            self._cancel_write_deadline()
            if self.ended:
                self.loop.call_soon(self._gone_out)  # in the midst of its writing, the transport would end twice

    def _gone_out(self) -> None:
        if self.parser is not None:
            (self._close if self._closing else self._finish)()

    def _watch_writing(self) -> None:
        seconds = self._settings.send_timeout
        self._write_deadline = self.loop.call_later(seconds, self._written, self._wire.under_way - SLOWEST * seconds)

    def _written(self, most: float) -> None:
        if self._wire.under_way > most:
            logger.debug("%s: does not read its answer", self.client)
            self.cut()
        else:
            self._watch_writing()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cancel_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None
