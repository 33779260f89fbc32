// OpenClaw's own delivery queue on SQLite, out of its package: enqueue, mark the attempt as begun, mark its outcome as
// unknown, acknowledge; one after the other, as its deliverOutboundPayloads does for each message that a channel takes.
// Its bundler shortens the names; the export list at the end of the file says which is which.

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

const [folder, count] = [process.argv[2], Number(process.argv[3])];
const root = join(process.cwd(), "node_modules", "openclaw");
const wanted = [
  "enqueueDelivery",
  "markDeliveryPlatformSendAttemptStarted",
  "markDeliveryPlatformOutcomeUnknown",
  "ackDelivery",
];
const text = (name) => readFileSync(join(root, "dist", name), "utf8");
const file = readdirSync(join(root, "dist"))
  .filter((name) => name.startsWith("delivery-queue-") && name.endsWith(".js"))
  .find((name) => wanted.every((one) => text(name).includes(`${one} as `)));
const queue = await import(join(root, "dist", file));
const [enqueue, markBegun, markUnknown, acknowledge] = wanted.map(
  (one) => queue[text(file).match(new RegExp(`\\b${one} as (\\w+)`))[1]],
);

async function life(number) {
  const payloads = [{ text: "Deploy done, all checks are green" }];
  const id = await enqueue({ channel: "ops", to: `recipient-${number}`, payloads }, folder);
  await markBegun(id, folder);
  // Here the channel takes it.
  await markUnknown(id, folder);
  await acknowledge(id, folder);
}

await life(-1); // makes the file and its tables
const began = performance.now();
for (let number = 0; number < count; number += 1) await life(number);
const seconds = (performance.now() - began) / 1000;
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
console.log(JSON.stringify({ seconds, done: count, version }));
process.exit(0);
