"""pylibmc, which is libmemcached: every command it has, in both protocols, with a login or without."""
import os
import sys
import threading

try:
    import pylibmc
except ImportError:
    sys.exit(77)

where = os.environ.get("GUEST_PATH") or "127.0.0.1:" + os.environ["GUEST_PORT"]
binary = os.environ.get("GUEST_PROTOCOL") == "binary"
login = {}
if "GUEST_USER" in os.environ:
    if not pylibmc.support_sasl:
        sys.exit(77)
    login = {"username": os.environ["GUEST_USER"], "password": os.environ["GUEST_PASSWORD"]}

# In the binary protocol some failures are exceptions.
def fails(call, *args):
    try:
        return not call(*args)
    except (pylibmc.NotFound, pylibmc.Error) as error:
        assert binary, error
        return True

for behaviors in ({}, {"tcp_nodelay": True, "ketama": True}, {"no_block": True, "buffer_requests": False},
                  {"cas": True} if binary else {"cas": True, "verify_keys": True}):
    c = pylibmc.Client([where], binary=binary, behaviors=behaviors, **login)
    assert c.flush_all()
    assert c.set("a", "one") and c.get("a") == "one" and c.get("none") is None
    assert c.set("o", {"some": ["python", 1, None]}) and c["o"] == {"some": ["python", 1, None]}
    assert fails(c.add, "a", "x") and c.add("b", "two")
    assert fails(c.replace, "none", "x") and c.replace("b", "2")
    assert c.set("s", b"b") and c.append("s", b"c") and c.prepend("s", b"a") and c.get("s") == b"abc"
    assert c.set("n", 10) and c.incr("n", 5) == 15 and c.decr("n", 20) == 0
    try:
        c.incr("none")
        assert False
    except pylibmc.NotFound:
        pass
    assert c.set_multi({f"m{i}": i for i in range(500)}) == []
    got = c.get_multi([f"m{i}" for i in range(600)])
    assert len(got) == 500 and got["m499"] == 499
    assert c.delete_multi([f"m{i}" for i in range(500)])
    assert c.get_multi([f"m{i}" for i in range(500)]) == {}
    assert c.delete("b") and fails(c.delete, "b")
    if not binary:  # libmemcached 1.0.16 never finds the end of the answer, memcached's neither
        assert c.touch("a", 100) and fails(c.touch, "none", 100)
    large = bytes(range(256)) * 3900
    assert c.set("large", large) and c.get("large") == large
    assert c.set("packed", large, min_compress_len=1000) and c.get("packed") == large
    try:
        c.set("large", b"x" * (1 << 20))
        assert False, "a MiB does not fit"
    except (pylibmc.TooBig, pylibmc.ServerError, pylibmc.Error):
        pass
    assert c.get("a") == "one", "in step after the refusal"
    if behaviors.get("cas"):
        value, cas = c.gets("a")
        assert c.cas("a", "2", cas) and fails(c.cas, "a", "3", cas)
    # A client of its own: after errors, 1.0.16 waits in the binary protocol for more, whoever serves.
    [(name, stats)] = pylibmc.Client([where], binary=binary, **login).get_stats()
    assert int(stats["curr_items"]) > 0, stats
c = pylibmc.Client([where], binary=binary, **login)
pool = pylibmc.ThreadMappedPool(c)
def work(number):
    with pool.reserve() as mine:
        for i in range(200):
            assert mine.set(f"t{number}-{i}", i) and mine.get(f"t{number}-{i}") == i
    pool.relinquish()
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
assert all(c.get(f"t{n}-199") == 199 for n in range(8))
if login:
    for wrong in ({"username": login["username"], "password": "wrong"}, {"username": "nobody", "password": "x"}, {}):
        c = pylibmc.Client([where], binary=True, **wrong)
        for use in (lambda: c.set("a", "stolen"), lambda: c.get("a")):
            try:
                assert not use(), "served without a login"
            except pylibmc.Error:
                pass
    assert pylibmc.Client([where], binary=True, **login).get("a") != "stolen"
print(pylibmc.__version__, "on libmemcached", pylibmc.libmemcached_version, "binary" if binary else "text", *login)
