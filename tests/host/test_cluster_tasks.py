"""What ends together ends all, also a task in which the NATS client has swallowed a cancellation."""

import asyncio

import pytest
from meuse.cluster import stream


class Deaf:
    """Goes on after its first cancellation, as `asyncio.wait_for` makes tasks do before Python 3.12."""

    ended = False

    async def run(self) -> None:
        try:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                await asyncio.sleep(600)
        finally:
            self.ended = True


async def works() -> None:
    await asyncio.sleep(600)


async def fails() -> None:
    raise OSError("no way")


def test_a_cancellation_ends_all() -> None:
    async def scene() -> None:
        deaf = Deaf()
        task = asyncio.create_task(stream.together(works(), deaf.run()))
        await asyncio.sleep(0.01)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=60)
        assert done == {task} and task.cancelled() and deaf.ended
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scene())


def test_when_one_fails_all_end_and_it_is_said() -> None:
    async def scene() -> None:
        deaf = Deaf()
        with pytest.raises(OSError, match="no way"):
            await stream.together(works(), deaf.run(), fails())
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scene())
