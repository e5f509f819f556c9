"""pymemcache's client for that service (not in 4.0.0) asks again when it is told to."""
import os
import socket
import sys
import time
import types

try:
    from pymemcache.client.ext.aws_ec_client import AWSElastiCacheHashClient
except ImportError:
    sys.exit(77)

# It takes names alone, and those with dots in them.
NAME = "cluster.cfg.test"
names = types.ModuleType("names")
names.__dict__.update(vars(socket))
names.getaddrinfo = lambda host, *more: socket.getaddrinfo(
    "127.0.0.1" if host == NAME else host, *more
)
c = AWSElastiCacheHashClient(
    f"{NAME}:{os.environ['GUEST_PORT']}", socket_module=names, default_noreply=False, timeout=5
)
told = None
while True:
    try:
        c.reconfigure_nodes()
        ports = sorted(int(node.split(":")[-1]) for node in c.clients)
        if ports != told:
            for n in range(30):
                assert c.set(f"k{n}", f"v{n}") and c.get(f"k{n}") == b"v%d" % n
            told = ports
            print("nodes", *ports, flush=True)
    except OSError as error:
        # A node has gone that the list still had; it is for the caller to ask again.
        print("again:", repr(error), file=sys.stderr)
    time.sleep(1)
