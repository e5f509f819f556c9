# Stores keys with dalli: host:port*weight of each server.
begin
  require 'dalli'
rescue LoadError
  exit 77
end
client = Dalli::Client.new(ARGV.map { |server| server.sub('*', ':') })
500.times { |i| client.set("key:#{i}", 'x') or exit 1 }
