// Parses the documents that the arguments name with AsyncAPI's own parser; prints what it says of each as JSON.
import { readFile } from "node:fs/promises";
import { Parser } from "@asyncapi/parser";

const parser = new Parser();
const said = {};
for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await parser.parse(await readFile(file, "utf8"));
  // 0 is an error, 1 a warning; information begins at 2.
  const faults = diagnostics.filter(({ severity }) => severity < 2);
  said[file] = {
    faults: faults.map(({ message, path }) => `${path.join(".")}: ${message}`),
    messages: document?.allMessages().all().map((message) => message.name()) ?? [],
  };
}
console.log(JSON.stringify(said));
