"""django-elastipymemcache, a Django cache, follows a cluster: a line for each list of nodes."""
import os
import socket
import ssl
import sys
import time
import types

try:
    import django
    from django.conf import settings
    from django_elastipymemcache import backend, client
except ImportError:
    sys.exit(77)

# It takes names alone, and those with dots in them. This one the certificate has too.
NAME = "cluster.cfg.test"
names = types.ModuleType("names")
names.__dict__.update(vars(socket))
names.getaddrinfo = lambda host, *more: socket.getaddrinfo(
    "127.0.0.1" if host == NAME else host, *more
)
options = {"discovery_interval": 1, "timeout": 5, "default_noreply": False}
options["socket_module"] = names
if "GUEST_CA" in os.environ:
    options["tls_context"] = ssl.create_default_context(cafile=os.environ["GUEST_CA"])
settings.configure(
    CACHES={
        "default": {
            "BACKEND": "django_elastipymemcache.backend.ElastiPymemcache",
            "LOCATION": f"{NAME}:{os.environ['GUEST_PORT']}",
            "OPTIONS": options,
        }
    }
)
django.setup()
from django.core.cache import cache

told = None
while True:
    try:
        for n in range(30):
            cache.set(f"k{n}", f"v{n}", 100)
            assert cache.get(f"k{n}") == f"v{n}"
    except Exception as error:
        print("again:", repr(error), file=sys.stderr)
        time.sleep(0.2)
        continue
    ports = sorted(int(node.split(":")[-1]) for node in cache._cache.clients)
    if ports != told:
        told = ports
        print("nodes", *ports, flush=True)
    time.sleep(0.2)
