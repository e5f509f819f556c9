// memcache-plus finds a cluster, once; and so does memcache-pp, which is made of it.
let Client;
try {
  Client = require(process.env.GUEST_PACKAGE);
} catch {
  process.exit(77);
}
const client = new Client({
  hosts: ["127.0.0.1:" + process.env.GUEST_PORT],
  autodiscover: true,
  onNetError: (error) => console.error("error:", String(error)),
});

async function find() {
  for (let n = 0; n < 30; n++) {
    await client.set("k" + n, "v" + n);
    if ((await client.get("k" + n)) !== "v" + n) {
      throw new Error("k" + n);
    }
  }
  const nodes = Object.keys(client.connections).map((node) => node.split(":").pop());
  console.log("nodes " + nodes.sort().join(" "));
}

find().catch((error) => {
  console.error(error);
  process.exit(1);
});
