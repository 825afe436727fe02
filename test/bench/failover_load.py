# SPDX-License-Identifier: Apache-2.0
"""Payments at a steady rate through one gateway, from a process of its own: for each the time when it was asked and
answered (CLOCK_MONOTONIC), its status, the epoch that it was accepted by, and its id."""
import asyncio
import collections
import multiprocessing
import re
import time

Answer = collections.namedtuple("Answer", "asked at status epoch id user")
_HEAD = re.compile(rb"HTTP/1\.1 (\d+)")
_EPOCH = re.compile(rb"(?i)\r\nldc-epoch: (\d+)")
_ID = re.compile(rb'"(?:id|message)":"([^"]+)"')
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)")


async def _ask(reader, writer, user, key):
    body = b'{"payee": "%d"}' % user
    writer.write(b"POST /pay/1 HTTP/1.1\r\nHost: x\r\nX-User-Id: %d\r\nIdempotency-Key: %s\r\nContent-Length: %d\r\n\r\n%s" %
                 (user, key, len(body), body))
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.readexactly(int(_LENGTH.search(head).group(1)))
    epoch, found = _EPOCH.search(head), _ID.search(body)
    return int(_HEAD.match(head).group(1)), int(epoch.group(1)) if epoch else 0, found.group(1).decode() if found else None


async def _pay(host, port, user, every_s, first_s, stop, answers):
    """The next one is due EVERY_S after the last was due; while it waits for an answer it falls behind."""
    reader = writer = None
    due, number = time.monotonic() + first_s, 0
    while not stop.is_set():
        await asyncio.sleep(max(due - time.monotonic(), 0))
        due, number, asked = max(due + every_s, time.monotonic()), number + 1, time.monotonic()
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection(host, port)
            status, epoch, identity = await _ask(reader, writer, user, b"%d-%d-%d" % (user, number, port))
        except (OSError, EOFError, AttributeError) as fault:
            status, epoch, identity = 0, 0, str(fault)
            writer = None
        answers.append(Answer(asked, time.monotonic(), status, epoch, identity, user))


async def _run(host, port, users, every_s, stop, pipe):
    answers = []
    tasks = [asyncio.create_task(_pay(host, port, user, every_s, every_s * i / len(users), stop, answers))
             for i, user in enumerate(users)]
    while not stop.is_set():
        await asyncio.sleep(0.02)
        sent = len(answers)
        pipe.send(answers[:sent])
        del answers[:sent]
    await asyncio.gather(*tasks)
    pipe.send(answers)
    pipe.close()


class Load:
    """USERS of one gateway, each EVERY_S. `.answers` grows by collect()."""

    def __init__(self, address, users, every_s):
        host, port = address.rsplit(":", 1)
        self._pipe, theirs = multiprocessing.Pipe(duplex=False)
        self._stop, self.answers = multiprocessing.Event(), []
        self._process = multiprocessing.Process(
            target=lambda: asyncio.run(_run(host, int(port), users, every_s, self._stop, theirs)), daemon=True)
        self._process.start()
        theirs.close()

    def collect(self):
        while self._pipe.poll():
            try:
                self.answers += self._pipe.recv()
            except EOFError:
                break
        return self.answers

    def stop(self):
        self._stop.set()
        while True:
            try:
                self.answers += self._pipe.recv()
            except EOFError:
                break
        self._process.join()
