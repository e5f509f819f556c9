<?php
// Stores keys with php-memcached: the rule, then host:port*weight of each server.
if (!class_exists('Memcached')) exit(77);
$client = new Memcached();
switch ($argv[1]) {
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
foreach (array_slice($argv, 2) as $server) {
    [$address, $weight] = explode('*', $server);
    $colon = strrpos($address, ':');
    $client->addServer(substr($address, 0, $colon), (int) substr($address, $colon + 1), (int) $weight);
}
for ($i = 0; $i < 500; $i++) {
    if (!$client->set("key:$i", 'x')) {
        fwrite(STDERR, $client->getResultMessage() . "\n");
        exit(1);
    }
}
