"""Stores keys with pylibmc, or reads ours: what to do, the rule, then host:port*weight of each server."""

import sys

try:
    import pylibmc
except ImportError:
    sys.exit(77)

servers = [server.replace("*", ":") for server in sys.argv[3:]]
behaviors = {
    "modula": {},
    "modula_md5": {"hash": "md5"},
    "ketama": {"ketama": True},
    "ketama_weighted": {"ketama_weighted": True},
}
client = pylibmc.Client(servers, behaviors=behaviors[sys.argv[2]])
for i in range(500):
    if sys.argv[1] == "read":
        assert client.get(f"ours:{i}") == b"y", i
    else:
        assert client.set(f"key:{i}", "x")
