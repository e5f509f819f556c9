<?php
// Stores values with php-memcached, and reads what is stored for it: which packing, port.
if (!class_exists('Memcached')) exit(77);
$client = new Memcached();
$packing = ['fastlz' => Memcached::COMPRESSION_FASTLZ, 'zlib' => Memcached::COMPRESSION_ZLIB];
$client->setOption(Memcached::OPT_COMPRESSION_TYPE, $packing[$argv[1]]);
$client->addServer('127.0.0.1', (int) $argv[2]);
$noise = '';
for ($i = 0; $i < 3000; $i++) $noise .= "$i:" . ($i * 7919 % 1000) . ' ';
$values = ['text' => "h\u{e9}", 'number' => -7, 'float' => 1.5e25, 'truth' => true, 'lie' => false,
    'big' => str_repeat('nuthatch ', 1000), 'noise' => $noise, 'list' => [1]];
foreach ($values as $key => $value) {
    if (!$client->set($key, $value)) exit(1);
}
foreach (['our_text' => "h\u{e9}", 'our_number' => -7, 'our_float' => 0.1, 'our_truth' => true] as $key => $value) {
    if ($client->get($key) !== $value) {
        fwrite(STDERR, $key . ' ' . var_export($client->get($key), true));
        exit(1);
    }
}
