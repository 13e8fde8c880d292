/**
 * Fails when all that a browser can load of the UI passes the bound, gzipped. It stays small for good.
 */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const BYTES_MAX = 70_000;

const dist = join(import.meta.dirname, "../dist");
const files = readdirSync(dist, { recursive: true, withFileTypes: true }).filter((f) => f.isFile());
let total = 0;
for (const file of files) {
  const bytes = gzipSync(readFileSync(join(file.parentPath, file.name)), { level: 9 }).length;
  total += bytes;
  console.log(`${String(bytes).padStart(7)}  ${file.name}`);
}
console.log(`${String(total).padStart(7)}  in all, gzipped, of ${BYTES_MAX}`);
if (files.length === 0 || total > BYTES_MAX) {
  console.error("the UI passes its bound, or was not built");
  process.exit(1);
}
