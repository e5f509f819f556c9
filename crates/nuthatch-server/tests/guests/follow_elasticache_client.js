// npm's elasticache-client follows a cluster: a line for each list of nodes that it has come to use.
let Client;
try {
  Client = require("elasticache-client");
} catch {
  process.exit(77);
}
// What it says of itself would be among our lines.
console.log = () => {};
const say = (line) => process.stdout.write(line + "\n");
const client = new Client(
  "127.0.0.1:" + process.env.GUEST_PORT,
  { autodiscovery: true, update_time: 1000 },
  { timeout: 5000 },
);
const call = (name, ...args) =>
  new Promise((done, fail) =>
    client[name](...args, (error, value) => (error ? fail(error) : done(value))),
  );

async function follow() {
  let told = "";
  for (;;) {
    const nodes = client.memcached.servers.map((node) => node.split(":").pop()).sort().join(" ");
    if (nodes !== told) {
      try {
        for (let n = 0; n < 30; n++) {
          await call("set", "k" + n, "v" + n, 100);
          if ((await call("get", "k" + n)) !== "v" + n) {
            throw new Error("k" + n);
          }
        }
        told = nodes;
        say("nodes " + nodes);
      } catch (error) {
        console.error("again:", String(error));
      }
    }
    await new Promise((done) => setTimeout(done, 200));
  }
}

follow();
