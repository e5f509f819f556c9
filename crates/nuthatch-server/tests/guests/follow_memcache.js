// npm's memcache follows a cluster: a line for each list of nodes that it has come to use.
let Memcache;
try {
  ({ Memcache } = require("memcache"));
} catch {
  process.exit(77);
}
const client = new Memcache({
  nodes: [],
  timeout: 5000,
  autoDiscover: {
    enabled: true,
    pollingInterval: 1000,
    configEndpoint: "127.0.0.1:" + process.env.GUEST_PORT,
    useLegacyCommand: process.env.GUEST_LEGACY !== undefined,
  },
});
client.on("error", (error) => console.error("error:", String(error)));

async function works() {
  for (let n = 0; n < 30; n++) {
    if (!(await client.set("k" + n, "v" + n)) || (await client.get("k" + n)) !== "v" + n) {
      return false;
    }
  }
  return true;
}

async function follow() {
  await client.connect();
  let told = "";
  for (;;) {
    const nodes = client.nodeIds.map((id) => id.split(":").pop()).sort().join(" ");
    if (nodes !== told && (await works().catch(() => false))) {
      told = nodes;
      console.log("nodes " + nodes);
    }
    await new Promise((done) => setTimeout(done, 200));
  }
}

follow().catch((error) => {
  console.error(error);
  process.exit(1);
});
