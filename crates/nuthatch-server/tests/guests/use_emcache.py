"""emcache: the text protocol, over TLS, with a login of `-Y`, with both or neither."""
import asyncio
import os
import sys

try:
    import emcache
except ImportError:
    sys.exit(77)

host = emcache.MemcachedHostAddress("127.0.0.1", int(os.environ["GUEST_PORT"]))
more = {"timeout": 10.0}
if "GUEST_CA" in os.environ:
    more |= {"ssl": True, "ssl_verify": True, "ssl_extra_ca": os.environ["GUEST_CA"]}
login = {}
if "GUEST_USER" in os.environ:
    login = {"username": os.environ["GUEST_USER"], "password": os.environ["GUEST_PASSWORD"]}


async def use():
    c = await emcache.create_client([host], **login, **more)
    await c.flush_all(host)
    await c.set(b"a", b"one")
    assert (await c.get(b"a")).value == b"one" and await c.get(b"none") is None
    try:
        await c.add(b"a", b"x")
        assert False, "it is there"
    except emcache.NotStoredStorageCommandError:
        pass
    await c.set(b"hour", b"x" * 100_000, exptime=3600)
    assert (await c.get(b"hour")).value == b"x" * 100_000
    item = await c.gets(b"a")
    await c.cas(b"a", b"two", item.cas)
    await c.set(b"n", b"10")
    assert await c.increment(b"n", 5) == 15 and await c.decrement(b"n", 1) == 14
    for i in range(100):
        await c.set(f"m{i}".encode(), str(i).encode())
    got = await c.get_many([f"m{i}".encode() for i in range(150)])
    assert len(got) == 100 and got[b"m99"].value == b"99"
    await c.touch(b"n", 100)
    await c.delete(b"n")
    # Many at once, on the connections of a pool.
    async def work(i):
        await c.set(f"t{i}".encode(), b"x")
        return (await c.get(f"t{i}".encode())).value
    assert await asyncio.gather(*(work(i) for i in range(200))) == [b"x"] * 200
    assert (await c.stats(host))["version"] == "1.6.45"
    await c.close()

    if login:
        for wrong in ({"username": login["username"], "password": "wrong"}, {}):
            try:
                c = await emcache.create_client([host], **wrong, **(more | {"timeout": 1.0}))
                await c.set(b"a", b"stolen")
                assert False, "served without the right password"
            except (emcache.CommandError, asyncio.TimeoutError):
                pass
        c = await emcache.create_client([host], **login, **more)
        assert (await c.get(b"a")).value == b"two"
        await c.close()


asyncio.run(use())
print("emcache", *more, *login)
