"""python-binary-memcached: the binary protocol over TLS, with a login, with both or neither."""
import os
import ssl
import sys

try:
    import bmemcached
    from bmemcached.exceptions import MemcachedException
except ImportError:
    sys.exit(77)

where = os.environ.get("GUEST_PATH") or "127.0.0.1:" + os.environ["GUEST_PORT"]
more = {"socket_timeout": 10}
if "GUEST_CA" in os.environ:
    more["tls_context"] = ssl.create_default_context(cafile=os.environ["GUEST_CA"])
login = {}
if "GUEST_USER" in os.environ:
    login = {"username": os.environ["GUEST_USER"], "password": os.environ["GUEST_PASSWORD"]}

for make in (bmemcached.Client, bmemcached.ReplicatingClient, bmemcached.DistributedClient):
    c = make([where], **login, **more)
    assert c.flush_all()
    assert c.set("a", "one") and c.get("a") == "one" and c.get("none") is None
    assert c.set("hour", {"a": [1, None]}, time=3600) and c.get("hour") == {"a": [1, None]}
    assert not c.add("a", "x") and c.add("b", "two")
    assert not c.replace("none", "x") and c.replace("b", "2")
    value, cas = c.gets("a")
    assert value == "one" and c.cas("a", "three", cas) and not c.cas("a", "four", cas)
    assert c.set("n", "10", compress_level=0)
    assert c.incr("count", 5, default=7) == 7 and c.incr("count", 5) == 12 and c.decr("count", 20) == 0
    assert c.set_multi({f"m{i}": str(i) for i in range(300)}) == []
    got = c.get_multi([f"m{i}" for i in range(400)])
    assert len(got) == 300 and got["m299"] == "299"
    assert c.delete_multi([f"m{i}" for i in range(300)]) and c.get_multi(["m1", "m2"]) == {}
    assert c.delete("b") and c.get("b") is None
    large = os.urandom(900_000)
    assert c.set("large", large) and c.get("large") == large
    [stats] = c.stats().values()
    assert int(stats["curr_items"]) > 0 and int(stats["cmd_set"]) > 300, stats
    c.disconnect_all()

if login:
    user = login["username"]
    for wrong in ({"username": user, "password": "wrong"}, {"username": "nobody", "password": "x"}):
        c = bmemcached.Client([where], **wrong, **more)
        try:
            assert not c.set("a", "stolen"), "served with a wrong password"
            assert c.get("a") is None, "served with a wrong password"
        except MemcachedException as error:
            assert "Auth failure" in str(error), error
    c = bmemcached.Client([where], **more)
    try:
        assert not c.set("a", "stolen") and c.get("a") is None, "served without a login"
    except (MemcachedException, OSError):
        pass
    assert bmemcached.Client([where], **login, **more).get("a") == "three"
print("python-binary-memcached", *more, *login)
