"""aiomcache: the text protocol, plain or over TLS."""
import asyncio
import os
import ssl
import sys

try:
    import aiomcache
except ImportError:
    sys.exit(77)

more = {}
if "GUEST_CA" in os.environ:
    more["conn_args"] = {"ssl": ssl.create_default_context(cafile=os.environ["GUEST_CA"])}


async def use():
    c = aiomcache.Client("127.0.0.1", int(os.environ["GUEST_PORT"]), pool_size=4, **more)
    await c.flush_all()
    assert await c.set(b"a", b"one") and await c.get(b"a") == b"one" and await c.get(b"none") is None
    assert not await c.add(b"a", b"x") and await c.append(b"a", b"+") and await c.prepend(b"a", b"-")
    value, cas = await c.gets(b"a")
    assert value == b"-one+" and await c.cas(b"a", b"two", cas) and not await c.cas(b"a", b"3", cas)
    assert await c.set(b"n", b"10", exptime=3600)
    assert await c.incr(b"n", 5) == 15 and await c.decr(b"n", 20) == 0
    assert await c.touch(b"n", 100) and await c.delete(b"n") and not await c.delete(b"n")
    large = os.urandom(900_000)
    assert await c.set(b"large", large) and await c.get(b"large") == large

    async def work(i):
        key = f"t{i}".encode()
        return await c.set(key, key) and await c.get(key) == key
    assert all(await asyncio.gather(*(work(i) for i in range(300))))
    assert await c.multi_get(b"t0", b"none", b"t299") == (b"t0", None, b"t299")
    assert int((await c.stats())[b"curr_items"]) >= 302
    assert await c.version() == b"1.6.45"
    await c.close()


asyncio.run(use())
print("aiomcache", *more)
