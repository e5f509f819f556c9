"""django-elasticache, a Django cache of pylibmc, asks for the list once and again after an error.

What it has connected to it keeps all the same, so this asks for the cache in a new thread each time,
as a server with a thread a request does.
"""
import os
import sys
import threading
import time
import warnings

warnings.simplefilter("ignore")
try:
    import django
    from django.conf import settings
    from django_elasticache import memcached
except ImportError:
    sys.exit(77)

settings.configure(
    CACHES={
        "default": {
            "BACKEND": "django_elasticache.memcached.ElastiCache",
            "LOCATION": "127.0.0.1:" + os.environ["GUEST_PORT"],
        }
    }
)
django.setup()
from django.core.cache import caches

told = None


def use():
    global told
    cache = caches["default"]
    try:
        for n in range(30):
            cache.set(f"k{n}", f"v{n}", 100)
            assert cache.get(f"k{n}") == f"v{n}"
    except Exception as error:
        return print("again:", repr(error), file=sys.stderr)
    ports = sorted(int(node.split(":")[-1]) for node in cache.get_cluster_nodes())
    if ports != told:
        told = ports
        print("nodes", *ports, flush=True)


while True:
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    time.sleep(0.5)
