"""elasticache_pyclient, over python-memcached, follows a cluster: a line for each list of nodes."""
import os
import sys
import time
import warnings

warnings.simplefilter("ignore")
try:
    from elasticache_pyclient import MemcacheClient
except ImportError:
    sys.exit(77)

c = MemcacheClient("127.0.0.1:" + os.environ["GUEST_PORT"], ad_timeout=5, ad_interval=1)
told = None
while True:
    ports = sorted(int(node.split(":")[-1]) for node in c.cluster.servers)
    # It says nothing of nodes that do not answer but what comes back.
    if ports != told and all(c.set(f"k{n}", f"v{n}") for n in range(30)):
        if all(c.get(f"k{n}") == f"v{n}" for n in range(30)):
            told = ports
            print("nodes", *ports, flush=True)
    time.sleep(0.2)
