// memcached-elasticache follows a cluster: a line for each list of nodes that it has come to use.
let Memcached;
try {
  Memcached = require("memcached-elasticache");
} catch {
  process.exit(77);
}
const client = new Memcached("127.0.0.1:" + process.env.GUEST_PORT, {
  autoDiscoverInterval: 1000,
  timeout: 5000,
});
const call = (name, ...args) =>
  new Promise((done, fail) =>
    client[name](...args, (error, value) => (error ? fail(error) : done(value))),
  );

client.on("autoDiscover", async (nodes) => {
  try {
    for (let n = 0; n < 30; n++) {
      await call("set", "k" + n, "v" + n, 100);
      if ((await call("get", "k" + n)) !== "v" + n) {
        throw new Error("k" + n);
      }
    }
    console.log("nodes " + nodes.map((node) => node.split(":").pop()).sort().join(" "));
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
});
client.on("autoDiscoverFailure", (error) => console.error("failure:", String(error)));
