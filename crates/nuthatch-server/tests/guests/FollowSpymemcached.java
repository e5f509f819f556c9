// The cluster client made of spymemcached follows a cluster, over TLS too: a line for each list of
// nodes. What only that one has is looked up, so that with plain spymemcached this can say so.
import java.io.FileInputStream;
import java.lang.reflect.Proxy;
import java.net.InetSocketAddress;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import net.spy.memcached.ConnectionFactory;
import net.spy.memcached.ConnectionFactoryBuilder;
import net.spy.memcached.MemcachedClient;

public class FollowSpymemcached {
    static final Map<String, String> ENV = System.getenv();

    static SSLContext trusting(String file) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream in = new FileInputStream(file)) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    /** Calls a setter that only the cluster client's builder has. */
    static void call(ConnectionFactoryBuilder builder, String name, Object value) throws Exception {
        for (var method : builder.getClass().getMethods()) {
            if (method.getName().equals(name)) {
                method.invoke(builder, value);
                return;
            }
        }
        System.exit(77);
    }

    /** Asks for the list every second and not every minute, which the builder has no word for. */
    static ConnectionFactory hurried(ConnectionFactory made) {
        Class<?>[] is = {ConnectionFactory.class};
        return (ConnectionFactory) Proxy.newProxyInstance(is[0].getClassLoader(), is, (self, method, args) ->
            method.getName().equals("getDynamicModePollingInterval") ? 1000L : method.invoke(made, args));
    }

    static TreeSet<Integer> ports(MemcachedClient c) throws Exception {
        var all = (Collection<?>) c.getClass().getMethod("getAllNodeEndPoints").invoke(c);
        var ports = new TreeSet<Integer>();
        for (Object endPoint : all) {
            ports.add((Integer) endPoint.getClass().getMethod("getPort").invoke(endPoint));
        }
        return ports;
    }

    static boolean works(MemcachedClient c) {
        try {
            for (int n = 0; n < 30; n++) {
                if (!c.set("k" + n, 100, "v" + n).get(5, TimeUnit.SECONDS) || !("v" + n).equals(c.get("k" + n))) {
                    return false;
                }
            }
            return true;
        } catch (Exception again) {
            // The list changed while it was used.
            System.err.println("again: " + again);
            return false;
        }
    }

    public static void main(String[] args) throws Exception {
        System.setProperty("net.spy.log.LoggerImpl", "net.spy.memcached.compat.log.SunLogger");
        java.util.logging.LogManager.getLogManager().reset();
        var builder = new ConnectionFactoryBuilder();
        var protocol = ENV.getOrDefault("GUEST_PROTOCOL", "text").toUpperCase();
        builder.setProtocol(ConnectionFactoryBuilder.Protocol.valueOf(protocol));
        try {
            for (Object mode : Class.forName("net.spy.memcached.ClientMode").getEnumConstants()) {
                if (mode.toString().equals("Dynamic")) {
                    call(builder, "setClientMode", mode);
                }
            }
        } catch (ClassNotFoundException plain) {
            System.exit(77);
        }
        if (ENV.containsKey("GUEST_CA")) {
            call(builder, "setSSLContext", trusting(ENV.get("GUEST_CA")));
            call(builder, "setHostnameForTlsVerification", "localhost");
        }
        int port = Integer.parseInt(ENV.get("GUEST_PORT"));
        var c = new MemcachedClient(hurried(builder.build()), List.of(new InetSocketAddress("127.0.0.1", port)));
        TreeSet<Integer> told = null;
        for (; ; Thread.sleep(200)) {
            var ports = ports(c);
            if (!ports.equals(told) && works(c)) {
                told = ports;
                System.out.println("nodes " + String.join(" ", ports.stream().map(String::valueOf).toList()));
            }
        }
    }
}
