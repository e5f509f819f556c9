"""elasticache-auto-discovery asks for the list when it is told to; pymemcache uses the nodes."""
import os
import sys
import time

try:
    from elasticache_auto_discovery import discover
    from pymemcache.client.hash import HashClient
except ImportError:
    sys.exit(77)

told = None
while True:
    found = discover("127.0.0.1:" + os.environ["GUEST_PORT"], 5)
    nodes = sorted((ip.decode(), int(port)) for _, ip, port in found)
    if nodes != told:
        try:
            c = HashClient(nodes, timeout=5, default_noreply=False)
            for n in range(30):
                assert c.set(f"k{n}", f"v{n}") and c.get(f"k{n}") == b"v%d" % n
            told = nodes
            print("nodes", *(port for _, port in nodes), flush=True)
        except Exception as error:
            # A node has gone that the list still had.
            print("again:", repr(error), file=sys.stderr)
    time.sleep(0.5)
