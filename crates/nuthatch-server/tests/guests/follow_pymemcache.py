"""pymemcache's client for that service (in its repository, not in 4.0.0) asks when it is made.

It can be told to ask again, but keeps nodes that have gone in its ring then, and fails on their keys;
so this makes a new one each time.
"""
import os
import socket
import ssl
import sys
import time
import types

try:
    from pymemcache.client.ext.aws_ec_client import AWSElastiCacheHashClient
except ImportError:
    sys.exit(77)

more = {}
if "GUEST_CA" in os.environ:
    more["tls_context"] = ssl.create_default_context(cafile=os.environ["GUEST_CA"])
# It takes names alone, and those with dots in them. This one the certificate has too.
NAME = "cluster.cfg.test"
names = types.ModuleType("names")
names.__dict__.update(vars(socket))
names.getaddrinfo = lambda host, *more: socket.getaddrinfo(
    "127.0.0.1" if host == NAME else host, *more
)


def connected():
    endpoint = f"{NAME}:{os.environ['GUEST_PORT']}"
    return AWSElastiCacheHashClient(
        endpoint, socket_module=names, default_noreply=False, timeout=5, **more
    )


told = None
while True:
    try:
        c = connected()
        ports = sorted(int(node.split(":")[-1]) for node in c.clients)
        if ports != told:
            for n in range(30):
                assert c.set(f"k{n}", f"v{n}") and c.get(f"k{n}") == b"v%d" % n
            told = ports
            print("nodes", *ports, flush=True)
    except Exception as error:
        # A node has gone that the list still had; it is for the caller to ask again.
        print("again:", repr(error), file=sys.stderr)
    time.sleep(1)
