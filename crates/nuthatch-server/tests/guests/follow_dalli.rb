# dalli-elasticache asks again when it is told to; over TLS too.
begin
  require "dalli"
  require "dalli/elasticache"
rescue LoadError
  exit 77
end
Dalli.logger.level = Logger::FATAL
endpoint = "127.0.0.1:#{ENV.fetch("GUEST_PORT")}"
cluster = Dalli::ElastiCache.new(endpoint)
if ENV.key?("GUEST_CA")
  context = OpenSSL::SSL::SSLContext.new
  context.set_params(ca_file: ENV["GUEST_CA"], verify_mode: OpenSSL::SSL::VERIFY_PEER)
  begin
    # With a limit it waits for the socket while what came last is still within TLS, until that ends.
    options = { ssl_context: context, socket_timeout: 10 }
    cluster = Dalli::ElastiCache.new(endpoint, options, timeout: nil, ssl_context: context)
  rescue ArgumentError
    # Before 2.0.1 it knew no TLS.
    exit 77
  end
end
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
