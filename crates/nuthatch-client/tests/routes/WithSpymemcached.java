// Stores keys with spymemcached, or with the cluster client made of it, or reads ours: what to do, the
// rule, then host:port*weight of each server.
import java.net.InetSocketAddress;
import java.util.ArrayList;
import net.spy.memcached.ConnectionFactoryBuilder;
import net.spy.memcached.DefaultHashAlgorithm;
import net.spy.memcached.MemcachedClient;

public class WithSpymemcached {
    public static void main(String[] args) throws Exception {
        System.setProperty("net.spy.log.LoggerImpl", "net.spy.memcached.compat.log.SunLogger");
        java.util.logging.LogManager.getLogManager().reset();
        var builder = new ConnectionFactoryBuilder().setOpTimeout(20000);
        if (args[1].equals("ketama")) {
            builder.setLocatorType(ConnectionFactoryBuilder.Locator.CONSISTENT);
            builder.setHashAlg(DefaultHashAlgorithm.KETAMA_HASH);
        }
        try {
            // With a list of nodes, and not with one that tells the others.
            var modes = Class.forName("net.spy.memcached.ClientMode");
            for (Object mode : modes.getEnumConstants()) {
                if (mode.toString().equals("Static")) {
                    builder.getClass().getMethod("setClientMode", modes).invoke(builder, mode);
                }
            }
        } catch (ClassNotFoundException plain) {
            // It has no other.
        }
        var servers = new ArrayList<InetSocketAddress>();
        for (int i = 2; i < args.length; i++) {
            var at = args[i].split("[:*]");
            servers.add(new InetSocketAddress(at[0], Integer.parseInt(at[1])));
        }
        var client = new MemcachedClient(builder.build(), servers);
        for (int i = 0; i < 500; i++) {
            boolean done =
                args[0].equals("read") ? "y".equals(client.get("ours:" + i)) : client.set("key:" + i, 0, "x").get();
            if (!done) {
                System.err.println("key " + i);
                System.exit(1);
            }
        }
        System.exit(0);
    }
}
