# Stores keys with dalli, or reads ours: what to do, then host:port*weight of each server.
begin
  require 'dalli'
rescue LoadError
  exit 77
end
what, *servers = ARGV
client = Dalli::Client.new(servers.map { |server| server.sub('*', ':') })
500.times do |i|
  done = what == 'read' ? client.get("ours:#{i}") == 'y' : client.set("key:#{i}", 'x')
  abort "key #{i}" unless done
end
