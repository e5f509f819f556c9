"""Stores values with a client for Python, and reads what is stored for it: client, port."""

import sys

name, port = sys.argv[1], int(sys.argv[2])
big = "nuthatch " * 1000
values = {"text": "h\u00e9", "number": -7, "bytes": b"\x00\xff", "big": big, "list": [1]}
try:
    if name == "pylibmc":
        import pylibmc

        client = pylibmc.Client([f"127.0.0.1:{port}"])
        for key, value in values.items():
            assert client.set(key, value, min_compress_len=2000)
    else:
        from pymemcache.client.base import Client
        from pymemcache.serde import compressed_serde

        client = Client(("127.0.0.1", port), serde=compressed_serde)
        for key, value in values.items():
            assert client.set(key, value, noreply=False)
except ImportError:
    sys.exit(77)
for key, value in {"our_text": "h\u00e9", "our_number": -7, "our_bytes": b"\x00\xff"}.items():
    assert client.get(key) == value, (key, client.get(key))
