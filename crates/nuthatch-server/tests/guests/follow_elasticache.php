<?php
// The cluster client for PHP follows a cluster, over TLS too: a line for each list of nodes. It is an
// extension of the name of php-memcached, which lacks what this asks for.
if (!extension_loaded("memcached") || !defined("Memcached::OPT_CLIENT_MODE")) {
    exit(77);
}
$c = new Memcached();
$c->setOption(Memcached::OPT_CLIENT_MODE, Memcached::DYNAMIC_CLIENT_MODE);
$c->setOption(Memcached::OPT_DYNAMIC_POLLING_INTERVAL_SECS, 1);
$c->setOption(Memcached::OPT_LIBKETAMA_COMPATIBLE, true);
$c->setOption(Memcached::OPT_BINARY_PROTOCOL, getenv("GUEST_PROTOCOL") === "binary");
if (getenv("GUEST_CA") !== false) {
    $tls = ["ca_cert_file" => getenv("GUEST_CA"), "hostname" => "localhost"];
    if (!$c->setOption(Memcached::OPT_USE_TLS, 1) || !$c->createAndSetTLSContext($tls)) {
        exit(77);
    }
}
$c->addServer("127.0.0.1", (int) getenv("GUEST_PORT"));
for ($told = ""; ; usleep(200_000)) {
    // It asks for the list before an operation, when its time has come.
    for ($n = 0; $n < 30; $n++) {
        if (!$c->set("k$n", "v$n") || $c->get("k$n") !== "v$n") {
            fprintf(STDERR, "again: k$n %s\n", $c->getResultMessage());
            continue 2;
        }
    }
    $ports = array_column($c->getServerList(), "port");
    sort($ports);
    $line = "nodes " . implode(" ", $ports);
    if ($line !== $told) {
        $told = $line;
        echo "$line\n";
    }
}
