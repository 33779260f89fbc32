// Comis's own delivery queue adapter, out of a clone of its repository: enqueue and acknowledge, one after the other,
// as its daemon does for each message. Node leaves out the types by itself; the hook finds the modules that a build
// would have linked.

import { readFileSync } from "node:fs";
import { createRequire, registerHooks } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, count, mode] = [process.argv[2], Number(process.argv[3]), process.argv[4]];
const packages = join(process.cwd(), "source", "packages");
registerHooks({
  resolve(specifier, context, next) {
    if (specifier === "@comis/shared") return next(pathToFileURL(join(packages, "shared/src/result.ts")).href, context);
    return next(specifier, context);
  },
});
const { createSqliteDeliveryQueue } = await import(join(packages, "memory/src/delivery-queue-adapter.ts"));
const Database = createRequire(join(process.cwd(), "package.json"))("better-sqlite3");

const database = new Database(join(folder, "comis.db"));
// Not by pragma(): the statements that it leaves behind crash a newer Node.js when they are collected.
database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = ${mode}`);
const schema = readFileSync(join(packages, "memory/src/schema.ts"), "utf8");
database.exec(schema.match(/CREATE TABLE IF NOT EXISTS delivery_queue \([^`]*/)[0]);
const queue = createSqliteDeliveryQueue(database);

let done = 0;
const began = performance.now();
for (let number = 0; number < count; number += 1) {
  const now = Date.now();
  const stored = await queue.enqueue({
    text: "Deploy done, all checks are green",
    channelType: "ops",
    channelId: `recipient-${number}`,
    tenantId: "default",
    optionsJson: "{}",
    origin: "bench",
    formatApplied: true,
    chunkingApplied: true,
    maxAttempts: 5,
    createdAt: now,
    scheduledAt: now,
    expireAt: now + 3600000,
  });
  if (!stored.ok) throw stored.error;
  const acknowledged = await queue.ack(stored.value, `message-${number}`);
  if (acknowledged.ok) done += 1;
}
const seconds = (performance.now() - began) / 1000;
const { version } = JSON.parse(readFileSync(join(packages, "memory/package.json"), "utf8"));
console.log(JSON.stringify({ seconds, done, version }));
process.exit(0);
