// memjs: the binary protocol, with a login or without.
let memjs;
try {
  memjs = require("memjs");
} catch {
  process.exit(77);
}
const assert = require("assert");
const where = "127.0.0.1:" + process.env.GUEST_PORT;
const quiet = { log() {} };
const options = { timeout: 10, retries: 1, logger: quiet };
const login = process.env.GUEST_USER
  ? { username: process.env.GUEST_USER, password: process.env.GUEST_PASSWORD }
  : {};

async function use() {
  const c = memjs.Client.create(where, { ...options, ...login });
  await c.flush();
  assert.strictEqual(await c.set("a", "one", {}), true);
  assert.strictEqual((await c.get("a")).value.toString(), "one");
  assert.strictEqual((await c.get("none")).value, null);
  assert.strictEqual(await c.set("hour", "x".repeat(100000), { expires: 3600 }), true);
  assert.strictEqual((await c.get("hour")).value.length, 100000);
  assert.strictEqual(await c.add("a", "x", {}), false);
  assert.strictEqual(await c.replace("a", "two", {}), true);
  assert.strictEqual(await c.append("a", "+"), true);
  // memjs 1.3.2 sends an append for it.
  assert.strictEqual(await c.prepend("a", "-"), true);
  assert.match((await c.get("a")).value.toString(), /^(-two\+|two\+-)$/);
  assert.strictEqual((await c.increment("n", 5, { initial: 10 })).value, 10);
  assert.strictEqual((await c.increment("n", 5, {})).value, 15);
  assert.strictEqual((await c.decrement("n", 20, {})).value, 0);
  assert.strictEqual(await c.touch("n", 100), true);
  assert.strictEqual(await c.delete("n"), true);
  assert.strictEqual(await c.delete("n"), false);
  const work = async (i) => {
    assert.strictEqual(await c.set("t" + i, "v" + i, {}), true);
    return (await c.get("t" + i)).value.toString();
  };
  const all = await Promise.all([...Array(300).keys()].map(work));
  assert.strictEqual(all[299], "v299");
  const stats = await new Promise((done, fail) =>
    c.stats((error, _server, stats) => (error ? fail(error) : done(stats))));
  assert.ok(Number(stats.curr_items) > 300, stats);
  c.close();

  if (login.username) {
    const others = [{ username: login.username, password: "wrong" }, { username: "nobody", password: "x" }];
    for (const wrong of others) {
      const c = memjs.Client.create(where, { ...options, timeout: 2, retries: 0, ...wrong });
      await assert.rejects(c.set("a", "stolen", {}));
      c.close();
    }
    const c = memjs.Client.create(where, { ...options, ...login });
    assert.match((await c.get("a")).value.toString(), /two/);
    c.close();
  }
  console.log("memjs", ...Object.keys(login));
}

use().catch((error) => {
  console.error(error);
  process.exit(1);
});
