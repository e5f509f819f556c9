// spymemcached, or the cluster client made of it: the binary protocol, over TLS, with a login, with
// both or neither; with a cluster's configuration endpoint where it knows that.
import java.io.FileInputStream;
import java.lang.reflect.Method;
import java.net.InetSocketAddress;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import net.spy.memcached.CASResponse;
import net.spy.memcached.CASValue;
import net.spy.memcached.ConnectionFactoryBuilder;
import net.spy.memcached.FailureMode;
import net.spy.memcached.MemcachedClient;
import net.spy.memcached.auth.AuthDescriptor;
import net.spy.memcached.auth.PlainCallbackHandler;

public class UseSpymemcached {
    static final Map<String, String> ENV = System.getenv();

    static void check(boolean isSo, String what) {
        if (!isSo) {
            System.err.println("not so: " + what);
            System.exit(1);
        }
    }

    /** Trusts the one certificate that the tests were started with. */
    static SSLContext trusting(String file) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream in = new FileInputStream(file)) {
            var certificate = CertificateFactory.getInstance("X.509").generateCertificate(in);
            store.setCertificateEntry("ca", certificate);
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        String version = ENV.get("GUEST_TLS");
        SSLContext context = SSLContext.getInstance(version == null ? "TLS" : "TLSv" + version);
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    /** Calls a method that only the cluster client's builder has; says whether it has it. */
    static boolean call(ConnectionFactoryBuilder builder, String name, Object value) throws Exception {
        for (Method method : builder.getClass().getMethods()) {
            if (method.getName().equals(name)) {
                method.invoke(builder, value);
                return true;
            }
        }
        return false;
    }

    static MemcachedClient connect(String user, String password, long timeout) throws Exception {
        var builder = new ConnectionFactoryBuilder();
        builder.setProtocol(ConnectionFactoryBuilder.Protocol.BINARY);
        builder.setOpTimeout(timeout);
        builder.setFailureMode(FailureMode.Cancel);
        // A second by default, which a cold Java needs for its first handshake alone.
        builder.setAuthWaitTime(timeout);
        if (user != null) {
            var plain = new AuthDescriptor(new String[] {"PLAIN"}, new PlainCallbackHandler(user, password));
            builder.setAuthDescriptor(plain);
        }
        if (ENV.containsKey("GUEST_CA")) {
            boolean has = call(builder, "setSSLContext", trusting(ENV.get("GUEST_CA")));
            if (!has) {
                System.exit(77);
            }
            call(builder, "setHostnameForTlsVerification", ENV.getOrDefault("GUEST_HOST", "localhost"));
        }
        boolean discovers = ENV.containsKey("GUEST_DISCOVERS");
        try {
            var modes = Class.forName("net.spy.memcached.ClientMode").getEnumConstants();
            for (Object mode : modes) {
                if (mode.toString().equals(discovers ? "Dynamic" : "Static")) {
                    call(builder, "setClientMode", mode);
                }
            }
        } catch (ClassNotFoundException plain) {
            if (discovers) {
                System.exit(77);
            }
        }
        int port = Integer.parseInt(ENV.get("GUEST_PORT"));
        return new MemcachedClient(builder.build(), List.of(new InetSocketAddress("127.0.0.1", port)));
    }

    public static void main(String[] args) {
        try {
            use();
            System.exit(0);
        } catch (Throwable thrown) {
            // The client's own thread would keep the program running.
            thrown.printStackTrace();
            System.exit(1);
        }
    }

    static void use() throws Exception {
        System.setProperty("net.spy.log.LoggerImpl", "net.spy.memcached.compat.log.SunLogger");
        java.util.logging.LogManager.getLogManager().reset();
        String user = ENV.get("GUEST_USER");
        MemcachedClient c = connect(user, ENV.get("GUEST_PASSWORD"), 20000);
        check(c.flush().get(20, TimeUnit.SECONDS), "flush");
        check(c.set("hour", 3600, "a value for an hour").get(), "set for an hour");
        check("a value for an hour".equals(c.get("hour")), "get");
        check(c.get("none") == null, "a miss");
        check(c.set("a", 0, "one").get() && !c.add("a", 0, "x").get() && c.add("b", 0, "two").get(), "add");
        check(!c.replace("none", 0, "x").get() && c.replace("b", 0, "2").get(), "replace");
        check(c.append("a", "+").get() && c.prepend("a", "-").get() && "-one+".equals(c.get("a")), "append");
        CASValue<Object> with = c.gets("a");
        check(c.cas("a", with.getCas(), "three") == CASResponse.OK, "cas");
        check(c.cas("a", with.getCas(), "four") == CASResponse.EXISTS, "an old cas");
        check(c.incr("n", 5, 10) == 10 && c.incr("n", 5) == 15 && c.decr("n", 20) == 0, "incr");
        check(c.touch("n", 100).get() && "0".equals(c.getAndTouch("n", 100).getValue().toString().trim()), "touch");
        String[] keys = new String[400];
        for (int i = 0; i < keys.length; i++) {
            keys[i] = "m" + i;
        }
        for (String key : Arrays.copyOf(keys, 300)) {
            c.set(key, 0, key);
        }
        Map<String, Object> got = c.getBulk(keys);
        check(got.size() == 300 && "m299".equals(got.get("m299")), "getBulk " + got.size());
        check(c.delete("b").get() && !c.delete("b").get(), "delete");
        byte[] large = new byte[900_000];
        new Random(1).nextBytes(large);
        check(c.set("large", 0, large).get() && Arrays.equals(large, (byte[]) c.get("large")), "large");
        Map<String, String> stats = new TreeMap<>(c.getStats().values().iterator().next());
        check(Integer.parseInt(stats.get("curr_items")) > 300, "stats " + stats);
        check(c.getVersions().values().iterator().next().startsWith("1.6.45"), "version");

        if (user != null) {
            for (String[] wrong : new String[][] {{user, "wrong"}, {"nobody", "x"}, {null, null}}) {
                MemcachedClient other = connect(wrong[0], wrong[1], 1500);
                boolean stored;
                try {
                    stored = other.set("a", 0, "stolen").get(1500, TimeUnit.MILLISECONDS);
                } catch (Exception expected) {
                    stored = false;
                }
                check(!stored, "served " + wrong[0]);
                other.shutdown();
            }
            check("three".equals(c.get("a")), "the value is as it was");
        }
        c.shutdown();
        System.out.println("spymemcached " + (ENV.containsKey("GUEST_CA") ? "tls " : "") + (user == null ? "" : "login"));
    }
}
