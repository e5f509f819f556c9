"""pymemcache: every command it has, plain or over TLS."""
import os
import ssl
import sys

try:
    import pymemcache
except ImportError:
    sys.exit(77)
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import MemcacheServerError, MemcacheClientError, MemcacheIllegalInputError

where = os.environ.get("GUEST_PATH") or ("127.0.0.1", int(os.environ["GUEST_PORT"]))
more = {}
if "GUEST_CA" in os.environ:
    context = ssl.create_default_context(cafile=os.environ["GUEST_CA"])
    if "GUEST_TLS" in os.environ:
        version = ssl.TLSVersion["TLSv" + os.environ["GUEST_TLS"].replace(".", "_")]
        context.minimum_version = context.maximum_version = version
    more["tls_context"] = context

for make in (Client, PooledClient, lambda w, **k: HashClient([w], **k)):
    for quiet in (False, True):
        c = make(where, default_noreply=quiet, timeout=10, connect_timeout=10, **more)
        c.flush_all(noreply=False)
        assert c.set("a", b"one") and c.get("a") == b"one"
        assert c.get("none") is None and c.get("none", "default") == "default"
        assert c.add("a", b"x", noreply=False) is False
        assert c.add("b", b"two", noreply=False) is True
        assert c.replace("none", b"x", noreply=False) is False
        assert c.replace("b", b"2", noreply=False) is True
        c.append("a", b"+"); c.prepend("a", b"-")
        assert c.get("a") == b"-one+"
        value, cas = c.gets("a")
        assert c.cas("a", b"three", cas, noreply=False) is True
        assert c.cas("a", b"four", cas, noreply=False) is False
        assert c.cas("none", b"four", cas, noreply=False) is None
        c.set("n", b"10")
        assert c.incr("n", 5) == 15 and c.decr("n", 20) == 0 and c.incr("none", 1) is None
        assert c.touch("n", 100, noreply=False) is True
        assert c.touch("none", 100, noreply=False) is False
        if hasattr(c, "gat"):
            assert c.gat("n", 100) == b"0" and c.gats("n", 100)[0] == b"0"
        assert c.set_many({f"m{i}": str(i).encode() for i in range(500)}) == []
        got = c.get_many([f"m{i}" for i in range(600)])
        assert len(got) == 500 and got["m499"] == b"499"
        assert set(c.gets_many(["m1", "m2", "x"])) == {"m1", "m2"}
        c.delete_many([f"m{i}" for i in range(500)])
        assert c.get_many([f"m{i}" for i in range(500)]) == {}
        assert c.delete("n", noreply=False) is True
        assert c.delete("n", noreply=False) is False
        large = bytes(range(256)) * 3900
        c.set("large", large)
        assert c.get("large") == large
        try:
            c.set("large", b"x" * (1 << 20), noreply=False)
            assert False, "a MiB does not fit"
        except MemcacheServerError as error:
            assert b"too large" in error.args[0] or "too large" in str(error)
        c.set("gone", b"x", expire=-1)
        assert c.get("gone") is None
        try:
            c.get("k" * 251)
            assert False, "the client refuses it"
        except MemcacheIllegalInputError:
            pass
        if make is Client:
            c.set("s", b"x", noreply=False)
            stats = c.stats()
            assert stats[b"curr_items"] == 3, stats
            assert stats[b"limit_maxbytes"] == 64 << 20
            assert c.stats("settings")[b"maxconns"] == 1024
            assert c.version() == b"1.6.45"
            if hasattr(c, "raw_command"):
                assert c.raw_command("mn", b"\r\n") == b"MN"
                assert c.raw_command("mg s s v", b"\r\nx\r\n") == b"VA 1 s1"
        c.close()
print(pymemcache.__version__, "client, pooled, hashed, with and without noreply")
