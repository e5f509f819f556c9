"""emcache follows a cluster: a line for each list of nodes that it has come to use."""
import asyncio
import os
import sys

try:
    import emcache
except ImportError:
    sys.exit(77)

more = {}
if "GUEST_CA" in os.environ:
    more = {"ssl": True, "ssl_verify": True, "ssl_extra_ca": os.environ["GUEST_CA"]}
host = emcache.MemcachedHostAddress("127.0.0.1", int(os.environ["GUEST_PORT"]))


async def follow():
    c = await emcache.create_client(
        [host], timeout=5.0, autodiscovery=True, autodiscovery_poll_interval=1.0, **more
    )
    told = None
    while True:
        ports = sorted(node.port for node in c.cluster_managment().nodes())
        if ports != told:
            try:
                for n in range(30):
                    await c.set(b"k%d" % n, b"v%d" % n)
                    assert (await c.get(b"k%d" % n)).value == b"v%d" % n
            except Exception as error:
                # The list changed while it was used.
                print("again:", repr(error), file=sys.stderr)
                await asyncio.sleep(0.2)
                continue
            told = ports
            print("nodes", *ports, flush=True)
        await asyncio.sleep(0.2)


asyncio.run(follow())
