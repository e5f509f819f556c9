# Stores values with dalli, and reads what is stored for it: port.
begin
  require 'dalli'
rescue LoadError
  exit 77
end
client = Dalli::Client.new("127.0.0.1:#{ARGV[0]}", compress: true)
values = { 'text' => "h\u00e9", 'number' => -7, 'huge' => 2**40, 'truth' => true, 'nothing' => nil,
           'big' => 'nuthatch ' * 1000, 'list' => [1] }
values.each { |key, value| client.set(key, value) or exit 1 }
client.set('raw', 'x', 0, raw: true) or exit 1
ours = { 'our_text' => "h\u00e9", 'our_number' => -7, 'our_huge' => 2**40, 'our_truth' => true }
ours.each { |key, value| client.get(key) == value or abort "#{key} #{client.get(key).inspect}" }
