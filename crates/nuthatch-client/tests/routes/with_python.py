"""Stores keys with a client for Python, or reads ours: what to do, which one, then host:port*weight of
each server.
"""

import asyncio
import sys

reads, name = sys.argv[1] == "read", sys.argv[2]
servers = [server.split("*")[0] for server in sys.argv[3:]]
keys = [f"ours:{i}" if reads else f"key:{i}" for i in range(500)]


def pymemcache():
    from pymemcache.client.hash import HashClient

    client = HashClient(servers)
    for key in keys:
        assert client.get(key) == b"y" if reads else client.set(key, "x", noreply=False)


def bmemcached():
    from bmemcached import DistributedClient

    client = DistributedClient(servers)
    for key in keys:
        assert client.get(key) in ("y", b"y") if reads else client.set(key, "x")


def emcache():
    import emcache as module

    async def store():
        pairs = (server.rsplit(":", 1) for server in servers)
        hosts = [module.MemcachedHostAddress(host, int(port)) for host, port in pairs]
        client = await module.create_client(hosts)
        for key in keys:
            if reads:
                assert (await client.get(key.encode())).value == b"y"
            else:
                await client.set(key.encode(), b"x")
        await client.close()

    asyncio.run(store())


try:
    {"pymemcache": pymemcache, "bmemcached": bmemcached, "emcache": emcache}[name]()
except ImportError:
    sys.exit(77)
