// Renders the document of the first argument with AsyncAPI's HTML template, into the folder of the second.
import { dirname } from "node:path";
import { createRequire } from "node:module";
import Generator from "@asyncapi/generator";

const [file, folder] = process.argv.slice(2);
const template = dirname(createRequire(import.meta.url).resolve("@asyncapi/html-template/package.json"));
const generator = new Generator(template, folder, { templateParams: { singleFile: true } });
await generator.generateFromFile(file);
