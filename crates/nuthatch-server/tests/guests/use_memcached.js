// The `memcached` package of npm: the text protocol.
let Memcached;
try {
  Memcached = require("memcached");
} catch {
  process.exit(77);
}
const assert = require("assert");
const { promisify } = require("util");
const c = new Memcached("127.0.0.1:" + process.env.GUEST_PORT, { timeout: 10000, retries: 0 });
const ask = {};
for (const name of ["set", "get", "gets", "cas", "add", "replace", "append", "prepend", "incr", "decr",
  "touch", "del", "getMulti", "flush", "stats", "version"]) {
  ask[name] = promisify(c[name]).bind(c);
}

async function use() {
  await ask.flush();
  assert.strictEqual(await ask.set("a", "one", 100), true);
  assert.strictEqual(await ask.get("a"), "one");
  assert.strictEqual(await ask.get("none"), undefined);
  assert.strictEqual(await ask.set("hour", { a: [1, null] }, 3600), true);
  assert.deepStrictEqual(await ask.get("hour"), { a: [1, null] });
  await assert.rejects(ask.add("a", "x", 100));
  assert.strictEqual(await ask.replace("a", "two", 100), true);
  assert.strictEqual(await ask.append("a", "+"), true);
  assert.strictEqual(await ask.prepend("a", "-"), true);
  const found = await ask.gets("a");
  assert.strictEqual(found.a, "-two+");
  assert.strictEqual(await ask.cas("a", "three", found.cas, 100), true);
  assert.strictEqual(await ask.cas("a", "four", found.cas, 100), false);
  assert.strictEqual(await ask.set("n", 10, 100), true);
  assert.strictEqual(await ask.incr("n", 5), 15);
  assert.strictEqual(await ask.decr("n", 20), 0);
  assert.strictEqual(await ask.touch("n", 100), true);
  assert.strictEqual(await ask.del("n"), true);
  const work = async (i) => {
    assert.strictEqual(await ask.set("t" + i, "v" + i, 100), true);
    return ask.get("t" + i);
  };
  assert.strictEqual((await Promise.all([...Array(300).keys()].map(work)))[299], "v299");
  const got = await ask.getMulti(["t0", "none", "t299"]);
  assert.deepStrictEqual(got, { t0: "v0", t299: "v299" });
  const large = "x".repeat(900000);
  assert.strictEqual(await ask.set("large", large, 100), true);
  assert.strictEqual(await ask.get("large"), large);
  const [stats] = await ask.stats();
  assert.ok(stats.curr_items > 300, stats);
  c.end();
  console.log("npm memcached, text");
}

use().catch((error) => {
  console.error(error);
  process.exit(1);
});
