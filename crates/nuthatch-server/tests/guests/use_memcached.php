<?php
// PHP's memcached extension, which is libmemcached: both protocols, with a login or without.
if (!class_exists("Memcached")) exit(77);

$port = (int) getenv("GUEST_PORT");
$binary = getenv("GUEST_PROTOCOL") === "binary";
$user = getenv("GUEST_USER");

function check($is_so, $what, $client) {
    if ($is_so) return;
    fwrite(STDERR, "$what: {$client->getResultCode()} {$client->getResultMessage()}\n");
    exit(1);
}

function connect($port, $binary, $user, $password) {
    $c = new Memcached();
    $c->setOption(Memcached::OPT_BINARY_PROTOCOL, $binary);
    if ($user !== false && $user !== null) {
        if (!Memcached::HAVE_SASL) exit(77);
        check($c->setSaslAuthData($user, $password), "setSaslAuthData", $c);
    }
    check($c->addServer("127.0.0.1", $port), "addServer", $c);
    return $c;
}

$c = connect($port, $binary, $user, getenv("GUEST_PASSWORD"));
check($c->flush(), "flush", $c);
check($c->set("a", "one") && $c->get("a") === "one", "set", $c);
check($c->get("none") === false && $c->getResultCode() === Memcached::RES_NOTFOUND, "get", $c);
check($c->set("hour", ["a" => [1, null, 2.5]], 3600), "set for an hour", $c);
check($c->get("hour") === ["a" => [1, null, 2.5]], "get of the array", $c);
check(!$c->add("a", "x") && $c->add("b", "two"), "add", $c);
check(!$c->replace("none", "x") && $c->replace("b", "2"), "replace", $c);
$c->setOption(Memcached::OPT_COMPRESSION, false);
check($c->set("s", "b") && $c->append("s", "c") && $c->prepend("s", "a"), "append", $c);
check($c->get("s") === "abc", "get of what was appended", $c);
check($c->set("n", 10) && $c->increment("n", 5) === 15 && $c->decrement("n", 20) === 0, "incr", $c);
$with_cas = $c->get("a", null, Memcached::GET_EXTENDED);
check($with_cas["value"] === "one" && $c->cas($with_cas["cas"], "a", "three"), "cas", $c);
check(!$c->cas($with_cas["cas"], "a", "four"), "an old cas", $c);
$many = [];
for ($i = 0; $i < 300; $i++) $many["m$i"] = "v$i";
check($c->setMulti($many), "setMulti", $c);
$got = $c->getMulti(array_merge(array_keys($many), ["none"]));
check(count($got) === 300 && $got["m299"] === "v299", "getMulti", $c);
check(!in_array(false, $c->deleteMulti(array_keys($many)), true), "deleteMulti", $c);
check($c->delete("b") && !$c->delete("b"), "delete", $c);
$large = random_bytes(900000);
check($c->set("large", $large) && $c->get("large") === $large, "a large value", $c);
$stats = $c->getStats();
check((int) $stats["127.0.0.1:$port"]["curr_items"] > 0, "getStats", $c);
check($c->getVersion() === ["127.0.0.1:$port" => "1.6.45"], "getVersion", $c);

if ($user !== false) {
    foreach ([[$user, "wrong"], ["nobody", "x"], [null, null]] as [$name, $password]) {
        $wrong = connect($port, $binary, $name, $password);
        check(!$wrong->set("a", "stolen") && $wrong->get("a") === false, "served $name", $wrong);
    }
    check($c->get("a") === "three", "the value is as it was", $c);
}
echo "php-memcached ", phpversion("memcached"), $binary ? " binary" : " text", " $user\n";
