"""A TCP proxy before PostgreSQL that can delay, cut, go silent, and lose the answer to a statement.

It runs in a thread with its own event loop; tests may call its methods. To lose an answer means: the statement reaches the
server and is committed, and the connection breaks before the client gets the answer.
"""

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Self

#: ReadyForQuery, "not in a transaction": the statement is done and committed.
_READY = b"Z\x00\x00\x00\x05I"

#: The end of an answer without rows: a CommandComplete like "UPDATE 0", and ReadyForQuery.
_NO_ROWS = b" 0\x00" + _READY

#: SO_LINGER with no time: close() sends RST.
_RESET = struct.pack("ii", 1, 0)

#: The most bytes from a client that are kept, to find its connection by a statement.
_REMEMBERED = 65536


class Proxy:
    """Connections from its port to a port of the same host, for a ``with`` block.

    :ivar port: where it listens.
    :ivar target: the port to which new connections go.
    :ivar delay: seconds that each piece of data is delayed, as mean and spread.
    :ivar breaking: the share of pieces at which a connection breaks.
    """

    def __init__(self, target: int, chance: random.Random) -> None:
        self.target = target
        self.delay = (0.0, 0.0)
        self.breaking = 0.0
        self.port = 0
        self.lost = 0
        self._chance = chance
        self._links: set[_Link] = set()
        self._lose: list[_Loss] = []
        self._silent: bytes | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def lose_answer_to(self, statement: bytes, with_rows: bool = False) -> None:
        """Lose the answer to the next statement that contains these bytes, once.

        :param with_rows: only if the answer has rows.
        """
        self._lose.append(_Loss(statement, with_rows))

    def cut(self, of: bytes = b"") -> int:
        """Break all connections, or those whose client has sent these bytes; return how many."""
        return int(self._do(self._cut(of)))

    def silence(self, of: bytes = b"") -> None:
        """Forward nothing, in either direction, of connections with these bytes, old or new."""
        self._silent = of

    def speak(self) -> None:
        """Forward the data that was held back, and everything from now on."""
        self._silent = None

    def has_lost(self) -> bool:
        """Whether all answers to lose are lost."""
        return not self._lose

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, writer)
        self._links.add(link)
        try:
            await link.run(reader)
        finally:
            self._links.discard(link)

    async def _cut(self, of: bytes) -> int:
        chosen = [link for link in self._links if of in link.sent]
        for link in chosen:
            link.reset()
        return len(chosen)

    async def _end(self) -> None:
        self._server.close()
        await self._cut(b"")
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Loss:
    """An answer that is to be lost."""

    statement: bytes
    with_rows: bool


class _Link:
    """One connection."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = client
        self._server: asyncio.StreamWriter | None = None
        self._loss: _Loss | None = None
        self.sent = b""

    async def run(self, reader: asyncio.StreamReader) -> None:
        while self._proxy._silent == b"":
            await asyncio.sleep(0.05)
        try:
            replies, self._server = await asyncio.open_connection("127.0.0.1", self._proxy.target)
        except OSError:
            self.reset()
            return
        both = [
            asyncio.ensure_future(self._pass_on(reader, True)),
            asyncio.ensure_future(self._pass_on(replies, False)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            for writer in (self._client, self._server):
                writer.close()

    def reset(self) -> None:
        """Break the connection on both sides."""
        for writer in (self._client, self._server):
            if writer is not None and not writer.is_closing():
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, to_server: bool) -> None:
        answer = b""
        while data := await reader.read(65536):
            await self._hold()
            if self._proxy.breaking and self._proxy._chance.random() < self._proxy.breaking:
                self.reset()
                return
            if to_server:
                self._look(data)
            elif self._loss is not None:
                answer += data
                if not answer.endswith(_READY):
                    continue
                if not (self._loss.with_rows and answer.endswith(_NO_ROWS)):
                    self._proxy.lost += 1
                    self.reset()
                    return
                self._proxy._lose.append(self._loss)
                self._loss, data, answer = None, answer, b""
            writer = self._server if to_server else self._client
            assert writer is not None
            writer.write(data)
            await writer.drain()

    async def _hold(self) -> None:
        mean, spread = self._proxy.delay
        if mean:
            await asyncio.sleep(max(0.0, self._proxy._chance.uniform(mean - spread, mean + spread)))
        while self._proxy._silent is not None and self._proxy._silent in self.sent:
            await asyncio.sleep(0.02)

    def _look(self, data: bytes) -> None:
        first = self.sent[:512]  # the name of the application
        self.sent = first + (self.sent[512:] + data)[-_REMEMBERED:] if len(self.sent) > 512 else self.sent + data
        for loss in self._proxy._lose:
            if loss.statement in self.sent[-len(data) - len(loss.statement) :]:
                self._proxy._lose.remove(loss)
                self._loss = loss
                return
