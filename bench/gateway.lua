-- Load for bench/gateway.py: tools/call echo with unique ids, each answer looked at.
-- Environment: BENCH_ERA legacy|modern, BENCH_SESSION the session id of the handshake era.

local era = os.getenv("BENCH_ERA")
local session = os.getenv("BENCH_SESSION")
local number, wrong = 0, 0
local workers = {}

local headers = {
  ["Content-Type"] = "application/json",
  ["Accept"] = "application/json, text/event-stream",
}
local envelope = ""
if era == "modern" then
  headers["MCP-Protocol-Version"] = "2026-07-28"
  headers["Mcp-Method"] = "tools/call"
  headers["Mcp-Name"] = "echo"
  envelope = '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
    .. '"io.modelcontextprotocol/clientInfo":{"name":"wrk","version":"1"},'
    .. '"io.modelcontextprotocol/clientCapabilities":{}},'
else
  headers["MCP-Protocol-Version"] = "2025-11-25"
  headers["Mcp-Session-Id"] = session
end

function setup(thread)
  table.insert(workers, thread)
end

function init()
  bad = 0
end

function request()
  number = number + 1
  return wrk.format("POST", nil, headers,
    '{"jsonrpc":"2.0","id":' .. number .. ',"method":"tools/call","params":{' .. envelope
    .. '"name":"echo","arguments":{"text":"hello ' .. number .. '"}}}')
end

function response(status, _, body)
  if status ~= 200 or not string.find(body, '"text":%s?"hello %d+"') or string.find(body, '"isError":%s?true') then
    bad = bad + 1
  end
end

function done(summary, latency)
  for _, worker in ipairs(workers) do
    wrong = wrong + worker:get("bad")
  end
  local e = summary.errors
  io.write(string.format('RESULT {"rps": %.1f, "p50_ms": %.3f, "p99_ms": %.3f, "calls": %d, "failed": %d}\n',
    summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    summary.requests, wrong + e.connect + e.read + e.write + e.timeout))
end
