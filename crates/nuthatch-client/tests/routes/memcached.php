<?php
// Stores keys with php-memcached, or reads ours: what to do, the rule, then host:port*weight of each server.
if (!class_exists('Memcached')) exit(77);
$client = new Memcached();
switch ($argv[2]) {
    case 'modula':
        break;
    case 'consistent':
        $client->setOption(Memcached::OPT_DISTRIBUTION, Memcached::DISTRIBUTION_CONSISTENT);
        break;
    case 'libketama':
        $client->setOption(Memcached::OPT_LIBKETAMA_COMPATIBLE, true);
        break;
    default:
        exit(1);
}
foreach (array_slice($argv, 3) as $server) {
    [$address, $weight] = explode('*', $server);
    $colon = strrpos($address, ':');
    $client->addServer(substr($address, 0, $colon), (int) substr($address, $colon + 1), (int) $weight);
}
for ($i = 0; $i < 500; $i++) {
    $done = $argv[1] === 'read' ? $client->get("ours:$i") === 'y' : $client->set("key:$i", 'x');
    if (!$done) {
        fwrite(STDERR, $client->getResultMessage() . "\n");
        exit(1);
    }
}
