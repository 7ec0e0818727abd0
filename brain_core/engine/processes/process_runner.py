"""A runner process as the daemon uses it: a Runner over a link."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brain_core.engine.local_runner import CANCEL_GRACE
from brain_core.engine.processes.asking import Answering, no_tables, over
from brain_core.engine.processes.ending import GRACE
from brain_core.engine.processes.guard import ASK, BEAT, BROKEN, ORPHANED, SILENT
from brain_core.engine.processes.link import Link, Message, MessageTooLarge
from brain_core.engine.processes.messages import from_request, from_run, raise_from, to_plan, to_reply
from brain_core.engine.processes.output import Output
from brain_core.engine.processes.spawner import Child, Spawner
from brain_core.engine.runner import MAX_OUTPUT, Ask, Plan, StepReply, StepRequest
from brain_core.errors import RunnerDied, RunnerSilenced, WorkflowFileError
from brain_core.placeholders import Json
from brain_core.run import Run

_EXIT_WAIT = 2.0
_ASK_WAIT = 2.0


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Limits of runner processes, in seconds and bytes.

    `silence`: after how long without a word of the daemon a runner ends itself (0: never). `idle`: how long one that
    nobody holds is kept. `retire_grace`: how long the other steps of a runner may go on when one of its steps can only
    be ended with the process. `max_output` is that of the runners which the zygote makes: frames have to hold it.
    `barred`: plugins that this process has found unusable since the zygote was made, by name, with the reason.
    """

    import_timeout: float = 30.0
    max_output: int = MAX_OUTPUT
    silence: float = 0.0
    idle: float = 300.0
    cancel_grace: float = CANCEL_GRACE
    retire_grace: float = 10.0
    barred: Mapping[str, str] = field(default_factory=dict)

    @property
    def limit(self) -> int:
        """How large a message may be: what steps read and return, escaped twice."""
        return 64 * 1024 * 1024 + 8 * self.max_output

    @staticmethod
    def silence_for(lease: float, beat: float) -> float:
        """Return the silence after which children are ended before the lease of a stopped worker ends.

        Its last beat may lie one `beat` behind its last word to the runner, and ending takes the grace. Of a lease
        that is too short for that it is a third: a busy moment must not look like silence.
        """
        return max(lease / 3, lease - beat - 2 * GRACE)


@dataclass(slots=True)
class _Call:
    future: asyncio.Future[Message]
    on_live: Callable[[str], None] | None = None
    ask: Ask | None = None
    answer: Message | None = None
    """Kept beside the future, which a cancellation may have ended before the answer came."""
    stuck: bool = False


class ProcessRunner:
    """One runner process. Made by `start`; used from one event loop."""

    def __init__(self, child: Child, settings: RunnerSettings, hear: Callable[[str], None]) -> None:
        self.file = ""
        self.plan: Plan | None = None
        self.retired = False
        """No new step should come here: it has ended, or is about to."""
        self.pid = child.pid
        self._child = child
        self._settings = settings
        self._output = Output(child.output, hear)
        self._calls: dict[int, _Call] = {}
        self._numbers = 0
        self._answering = Answering(self._send)
        self._why: str | None = None
        self._buried = False
        self._alone = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._lost: asyncio.Task[None] | None = None
        self._link: Link
        self._loop = asyncio.get_running_loop()
        self._beating: asyncio.TimerHandle | None = None
        self.on_end: Callable[[], None] = lambda: None
        """Called once the process has ended."""

    @classmethod
    async def start(
        cls, spawner: Spawner, settings: RunnerSettings, hear: Callable[[str], None] = lambda text: None
    ) -> ProcessRunner:
        """Fork a process; nothing is loaded in it yet."""
        child = await spawner.spawn(silence=settings.silence, limit=settings.limit)
        runner = cls(child, settings, hear)
        try:
            runner._link = await Link.open(child.link, runner._receive, runner._link_lost, settings.limit)
        except BaseException:
            # Its ends close: the process sees it and is gone.
            runner._output.close()
            child.link.close()
            child.close()
            raise
        child.exited.add_done_callback(lambda _: runner._link_lost("exited"))
        runner._beat()
        return runner

    async def load(self, file: str | Path) -> Plan:
        self.file = str(file)
        try:
            # Its path is found out over there: a file system that hangs must not hold up this event loop.
            request = {"op": "load", "file": _absolute(file), "barred": dict(self._settings.barred)}
            loading = self._ask(request, cancel=False)
            answer = await asyncio.wait_for(loading, self._settings.import_timeout)
        except TimeoutError:
            line = await self._line()
            await self._end("was ended: its file did not load in time")
            raise WorkflowFileError(
                f"the file was still loading after {self._settings.import_timeout:g} s (setting import_timeout); "
                "move slow work into a step",
                file=str(file),
                line=line,
            ) from None
        except RunnerDied as error:
            raise WorkflowFileError(f"the file cannot be loaded: {error}", file=str(file)) from None
        except WorkflowFileError as error:
            raise WorkflowFileError(error.message, file=str(file), line=error.line) from None
        self.plan = to_plan(answer["plan"])
        return self.plan

    async def accept_inputs(self, given: Mapping[str, Any], *, typed: bool) -> dict[str, Json]:
        answer = await self._ask({"op": "inputs", "given": dict(given), "typed": typed})
        accepted: dict[str, Json] = answer["inputs"]
        return accepted

    async def run_step(self, request: StepRequest, on_live: Callable[[str], None], ask: Ask | None = None) -> StepReply:
        try:
            return to_reply(await self._ask(from_request(request), on_live, ask))
        except MessageTooLarge as error:
            return StepReply("failed", error=f"what the step reads is too much: {error}")

    async def call_on_finished(self, run: Run) -> None:
        await self._ask({"op": "finished", "of": from_run(run)})

    async def close(self) -> None:
        """End the process; steps that still run in it are ended with what they started."""
        self.retired = True
        if self.plan is None:
            # Nothing of it has run yet, and an import need not hear us.
            await self._end("was closed")
            return
        if self._why is None:
            self._why = "was closed"
            self._link.send({"op": "close"})
        await self._exit(GRACE + _EXIT_WAIT)

    async def _ask(
        self,
        message: Message,
        on_live: Callable[[str], None] | None = None,
        ask: Ask | None = None,
        *,
        cancel: bool = True,
    ) -> Message:
        """Send a request and return its answer; errors in it are raised. Cancelled, the work ends before this does."""
        await self._link.room()
        if self._why is not None:
            raise self.died()
        self._numbers += 1
        number = self._numbers
        call = self._calls[number] = _Call(self._loop.create_future(), on_live, ask)
        try:
            self._link.send({"id": number, **message})
            try:
                answer = await call.future
            except asyncio.CancelledError:
                if cancel:
                    await self._cancel(number, call)
                raise
            if "left" in answer:
                await self._end_stuck(call)
        finally:
            del self._calls[number]
            self._answering.end(number)
            self._alone.set()
        if "error" in answer:
            raise_from(answer["error"])
        return answer

    def _send(self, message: Message) -> None:
        self._link.send(message)

    async def _cancel(self, number: int, call: _Call) -> None:
        """End the work of a call: asked first, then with its process."""
        if call.answer is None and self._buried:
            return
        answer = call.future = self._loop.create_future()
        if call.answer is not None:
            answer.set_result(call.answer)
        else:
            self._link.send({"op": "cancel", "id": number})
        until = self._loop.time() + self._settings.cancel_grace
        while not answer.done() and (left := until - self._loop.time()) > 0:
            try:
                await asyncio.wait([answer], timeout=left)
            except asyncio.CancelledError:
                # Asked again: the step is told again, and gives its children no more grace.
                self._link.send({"op": "cancel", "id": number})
        if answer.done() and answer.exception() is not None:
            return
        if not answer.done() or "left" in answer.result():
            await self._end_stuck(call)

    async def _end_stuck(self, call: _Call) -> None:
        """End the process because of a step that goes on: at once when it is alone, else when others are done."""
        call.stuck = self.retired = True
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._end_when_alone())
        while not self._ending.done():
            # Whoever cancels this waits as well: the step has not ended before its process has.
            with suppress(asyncio.CancelledError):
                await asyncio.wait([self._ending])

    async def _end_when_alone(self) -> None:
        until = self._loop.time() + self._settings.retire_grace
        while not all(call.stuck for call in self._calls.values()) and (left := until - self._loop.time()) > 0:
            self._alone.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._alone.wait(), left)
        await self._end("was ended because another step in it could not be ended otherwise")

    async def _end(self, why: str) -> None:
        self.retired = True
        self._why = self._why or why
        self._child.kill()
        await self._exit(_EXIT_WAIT)

    async def _exit(self, patience: float) -> None:
        """Wait for the end of the process; killed after `patience` seconds."""
        await asyncio.wait([self._child.exited], timeout=patience)
        if not self._child.exited.done():
            self._child.kill()
            await asyncio.wait([self._child.exited], timeout=_EXIT_WAIT)
        if self._lost is None:
            self._link_lost("closed")
        if self._lost is not None:
            await asyncio.wait([self._lost])

    def _receive(self, message: Message) -> None:
        if "live" in message:
            call = self._calls.get(message["live"])
            if call is not None and call.on_live is not None:
                call.on_live(str(message["text"]))
            return
        if "ask" in message or "unask" in message:
            asks = self._calls.get(message.get("of", 0))
            self._answering.receive(message, over if asks is None else asks.ask or no_tables)
            return
        call = self._calls.get(message.get("id", 0))
        if call is not None:
            call.answer = message
            if not call.future.done():
                call.future.set_result(message)

    def died(self) -> RunnerDied:
        """Return the error that names how the process has ended."""
        kind = RunnerSilenced if self._why == _SILENCED else RunnerDied
        return kind(f"the runner process{f' of {self.file}' if self.plan is not None else ''} {self._why}")

    def _link_lost(self, why: str) -> None:
        self.retired = True
        if self._lost is None:
            self._lost = asyncio.ensure_future(self._bury(why))

    async def _bury(self, why: str) -> None:
        """The link is gone or the process is: see to it that both are, and tell everyone who waits."""
        if self._beating is not None:
            self._beating.cancel()
        await asyncio.wait([self._child.exited], timeout=_EXIT_WAIT)
        cut = not self._child.exited.done()
        if cut:
            self._child.kill()
            await asyncio.wait([self._child.exited], timeout=_EXIT_WAIT)
        code = self._child.exited.result() if self._child.exited.done() else None
        if self._why is None:
            self._why = _fate(code, cut, why)
        self._buried = True
        self._link.abort()
        self._output.drain()
        self._output.close()
        self._child.close()
        for call in self._calls.values():
            if not call.future.done():
                call.future.set_exception(self.died())
        self.on_end()

    async def _line(self) -> int | None:
        """Ask the guard at which line of its file the process stands; None when it does not say."""
        with suppress(TimeoutError, OSError, ValueError):
            self._child.guard.send(ASK)
            answer = await asyncio.wait_for(self._loop.sock_recv(self._child.guard, 64), _ASK_WAIT)
            return int(answer) or None
        return None

    def _beat(self) -> None:
        if self._settings.silence:
            # A guard that does not read has a full socket: it is told later, or ends.
            with suppress(OSError):
                self._child.guard.send(BEAT)
            self._beating = self._loop.call_later(self._settings.silence / 4, self._beat)


def _absolute(file: str | Path) -> str:
    """Return the file's name for whoever runs in another folder."""
    return str(Path(file).absolute())


_SILENCED = "ended itself and its steps: the daemon had been silent for too long"
_FDS = " (does the workflow close file descriptors that are not its own?)"


def _fate(code: int | None, cut: bool, why: str) -> str:
    if code is None:
        return f"is gone ({why}); how it ended is not known"
    if cut:
        return f"closed its connection and was ended{_FDS}"
    if code < 0:
        with suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name} (signal {-code})"
        return f"was ended by signal {-code}"
    if code == SILENT:
        return _SILENCED
    if code == ORPHANED:
        return f"ended itself: its connection was closed{_FDS}"
    if code == BROKEN:
        return f"ended: its event loop could not go on{_FDS}"
    return f"ended with exit code {code}"
