"""TCP connections between processes of a test, which the test can cut as a network is cut: nobody is told.

Who listens is called by a wire's `port`. A wire that is cut passes nothing and closes nothing: what is sent into it
is held, who connects waits. `heal(late=True)` passes what was held, `heal(late=False)` breaks all its connections.
Simulated: only the cut; a real one would not even complete a connection. Runs in a thread of its own.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable

from tests.ports import free_port


class Wire:
    """From `port` to the server at `target`. For the thread of its Wires, but for what Wires says."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._whole = asyncio.Event()
        self._whole.set()
        self._near: set[asyncio.WriteTransport] = set()
        self._far: set[asyncio.WriteTransport] = set()
        self.held = 0  # bytes and connections that were stopped so far

    async def listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._client, "127.0.0.1", self.port)

    def cut(self) -> None:
        self._whole.clear()

    def expire(self) -> None:
        """The server's keep-alives were not answered: it gives up its ends. The other ends hear nothing."""
        for transport in self._far:
            transport.abort()

    def heal(self, late: bool) -> None:
        if not late:
            for transport in (*self._near, *self._far):
                transport.abort()
        self._whole.set()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._near.add(writer.transport)
        behind = None
        try:
            if not self._whole.is_set():
                self.held += 1
                await self._whole.wait()
            from_server, behind = await asyncio.open_connection("127.0.0.1", self._target)
            self._far.add(behind.transport)
            await asyncio.gather(self._pipe(reader, behind), self._pipe(from_server, writer))
        except OSError:
            return  # nobody listens there
        finally:
            for one, ends in ((writer, self._near), (behind, self._far)):
                if one is not None:
                    ends.discard(one.transport)
                    one.transport.abort()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Also the end of it is held while the wire is cut."""
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if not self._whole.is_set():
                    self.held += len(data)
                    await self._whole.wait()
                writer.write(data)
                await writer.drain()
        await self._whole.wait()
        writer.close()


class Wires:
    """All of a test, ended with its context."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._wires: list[Wire] = []
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="wires")

    def __enter__(self) -> "Wires":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def to(self, target: int) -> Wire:
        wire = Wire(target)
        self._wires.append(wire)
        self._servers.append(asyncio.run_coroutine_threadsafe(wire.listen(), self._loop).result())
        return wire

    def cut(self, *wires: Wire) -> None:
        self._do(*(wire.cut for wire in wires))

    def expire(self, *wires: Wire) -> None:
        self._do(*(wire.expire for wire in wires))

    def heal(self, *wires: Wire, late: bool) -> None:
        self._do(*(lambda wire=wire: wire.heal(late) for wire in wires))

    def _do(self, *calls: Callable[[], None]) -> None:
        async def work() -> None:
            for call in calls:
                call()

        asyncio.run_coroutine_threadsafe(work(), self._loop).result()

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for wire in self._wires:
                wire.heal(late=False)
            await asyncio.wait(tasks, timeout=0.1)
        for _ in range(5):  # connections hear that they are closed
            await asyncio.sleep(0)
