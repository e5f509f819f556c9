"""pyelasticache_client, made of an old pymemcache, follows a cluster: a line for each list."""
import os
import sys
import time

try:
    from pymemcache.client.autodiscovery import AutodiscoveryClient
except ImportError:
    sys.exit(77)

endpoint = ("127.0.0.1", int(os.environ["GUEST_PORT"]))
c = AutodiscoveryClient(endpoint, interval=1, timeout=5)
told = None
while True:
    try:
        ports = sorted(int(node.split(":")[-1]) for node in list(c.clients))
        if ports != told:
            for n in range(30):
                assert c.set(f"k{n}", f"v{n}", noreply=False) and c.get(f"k{n}") == b"v%d" % n
            told = ports
            print("nodes", *ports, flush=True)
    except Exception as error:
        # The list changed while it was used.
        print("again:", repr(error), file=sys.stderr)
    time.sleep(0.2)
