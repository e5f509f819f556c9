# Dalli: the binary protocol, over TLS, with a login, with both or neither.
begin
  require "dalli"
rescue LoadError
  exit 77
end
require "openssl"
require "securerandom"

def check(is_so, what)
  abort what unless is_so
end

# Failures are what some of this is about; the log need not tell of them.
Dalli.logger.level = Logger::FATAL
where = "127.0.0.1:#{ENV.fetch("GUEST_PORT")}"
more = { socket_timeout: 10 }
if ENV.key?("GUEST_CA")
  context = OpenSSL::SSL::SSLContext.new
  context.set_params(ca_file: ENV["GUEST_CA"], verify_mode: OpenSSL::SSL::VERIFY_PEER)
  context.verify_hostname = true
  more[:ssl_context] = context
end
login = {}
login = { username: ENV["GUEST_USER"], password: ENV["GUEST_PASSWORD"] } if ENV.key?("GUEST_USER")

c = Dalli::Client.new(where, more.merge(login))
check c.flush == [true], "flush"
check c.set("a", "one") && c.get("a") == "one" && c.get("none").nil?, "set and get"
check c.set("hour", { "a" => [1, nil] }, 3600) && c.get("hour") == { "a" => [1, nil] }, "an hour"
check !c.add("a", "x") && c.add("b", "two"), "add"
# A miss is 0 to this client.
check c.replace("none", "x") == 0 && c.get("none").nil? && c.replace("b", "2"), "replace"
check c.set("s", "b", nil, raw: true) && c.append("s", "c") && c.prepend("s", "a"), "append"
check c.get("s", raw: true) == "abc", "what was appended"
check c.incr("n", 5, nil, 10) == 10 && c.incr("n", 5) == 15 && c.decr("n", 20) == 0, "incr"
check c.cas("a") { |value| value + "!" } && c.get("a") == "one!", "cas"
check c.touch("a", 100) && c.gat("a", 100) == "one!", "touch"
c.multi { 300.times { |i| c.set("m#{i}", i) } }
# Over TLS, Dalli 3.0.6 does not find its own connection again, whoever serves.
unless more.key?(:ssl_context)
  got = c.get_multi((0...400).map { |i| "m#{i}" })
  check got.size == 300 && got["m299"] == 299, "get_multi"
end
check c.get("m299") == 299 && c.get("m300").nil?, "what multi stored"
check c.delete("b") && !c.delete("b"), "delete"
large = SecureRandom.bytes(900_000)
check c.set("large", large) && c.get("large") == large, "a large value"
stats = c.stats.values.first
check stats["curr_items"].to_i > 300, "stats"
check c.version.values == ["1.6.45"], "version"
c.close

unless login.empty?
  [{ username: login[:username], password: "wrong" }, { username: "nobody", password: "x" }, {}].each do |wrong|
    c = Dalli::Client.new(where, more.merge(wrong))
    begin
      check !c.set("a", "stolen"), "served with #{wrong}"
    rescue Dalli::DalliError
      # What is expected.
    end
  end
  check Dalli::Client.new(where, more.merge(login)).get("a") == "one!", "the value is as it was"
end
puts "dalli #{Dalli::VERSION} #{more.keys} #{login.keys}"
