// The TypeScript SDK's client: makes the calls that standard input names, in one era, and prints what they gave.
// Standard input: {"module": path of the SDK, "mode": "legacy" or a revision, "calls": [{"url", "tool", "arguments"}]}
import { readFileSync } from "node:fs";

const { module, mode, calls } = JSON.parse(readFileSync(0, "utf8"));
const { Client, StreamableHTTPClientTransport } = await import(module);
const texts = [];
for (const call of calls) {
  const versionNegotiation = { mode: mode === "legacy" ? mode : { pin: mode } };
  const client = new Client({ name: "test", version: "1" }, { versionNegotiation });
  await client.connect(new StreamableHTTPClientTransport(new URL(call.url)));
  const { tools } = await client.listTools();
  if (!tools.some((tool) => tool.name === call.tool)) throw new Error(`expected ${call.tool} to be listed`);
  const result = await client.callTool({ name: call.tool, arguments: call.arguments });
  texts.push(result.content.map((block) => block.text ?? "").join(" "));
  await client.close();
}
console.log(JSON.stringify(texts));
