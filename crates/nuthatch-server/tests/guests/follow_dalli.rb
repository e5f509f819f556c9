# dalli-elasticache asks again when it is told to.
begin
  require "dalli"
  require "dalli/elasticache"
rescue LoadError
  exit 77
end
Dalli.logger.level = Logger::FATAL
cluster = Dalli::ElastiCache.new("127.0.0.1:#{ENV.fetch("GUEST_PORT")}")
told = nil
loop do
  cluster.refresh
  ports = cluster.servers.map { |server| server.split(":").last.to_i }.sort
  if ports != told
    client = cluster.client
    30.times do |n|
      abort "k#{n}" unless client.set("k#{n}", "v#{n}") && client.get("k#{n}") == "v#{n}"
    end
    told = ports
    puts "nodes #{ports.join(" ")}"
    $stdout.flush
  end
  sleep 1
end
