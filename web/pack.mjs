// The built script as the Python package ships it, gzipped so the folder stays small, and the licences in it.
import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const [from, to] = process.argv.slice(2);
const script = readFileSync(`${from}/viewer.js`);
writeFileSync(`${to}/viewer.js.gz`, gzipSync(script, { level: 9 }));
const texts = ["three", "@sparkjsdev/spark"].map(
  (name) => `${name} ${JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version}\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim()}\n`,
);
writeFileSync(`${to}/LICENSES.txt`, `viewer.js.gz contains these programs:\n\n${texts.join("\n\n")}`);
