// The built script and the page, as the Python package ships them: gzipped, so the folder stays small.
import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const [from, to] = process.argv.slice(2);
const script = readFileSync(`${from}/viewer.js`);
const page = readFileSync("index.html", "utf8").replace(/<script type="module".*<\/script>\n/, "<!--script-->\n");
writeFileSync(`${to}/viewer.js.gz`, gzipSync(script, { level: 9 }));
writeFileSync(`${to}/page.html`, page);
const texts = ["three", "@sparkjsdev/spark"].map(
  (name) => `${name} ${JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version}\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim()}\n`,
);
writeFileSync(`${to}/LICENSES.txt`, `viewer.js.gz contains these programs:\n\n${texts.join("\n\n")}`);
