// SPDX-License-Identifier: Apache-2.0
// Reads one case per line of standard input, writes for each a line: {"origin", "size"} or {"refused"}.
// A case is {"note", "key" (SPKI, base64), "keyId" (hex), "name", "index", "path" [base64], "leaf" (base64)}.
"use strict";

const crypto = require("node:crypto");
const path = require("node:path");
const readline = require("node:readline");

// The package exports only whole bundles; checkpoint and proof have modules of their own within it.
const inside = path.join(path.dirname(require.resolve("@sigstore/verify")), "tlog");
const { verifyCheckpoint } = require(path.join(inside, "checkpoint.js"));
const { verifyMerkleInclusion } = require(path.join(inside, "merkle.js"));

function read(one) {
  const bytes = (text) => Buffer.from(text, "base64");
  const log = {
    logID: Buffer.from(one.keyId, "hex"),
    baseURL: `https://${one.name}`,
    publicKey: crypto.createPublicKey({ key: bytes(one.key), format: "der", type: "spki" }),
  };
  const entry = {
    canonicalizedBody: bytes(one.leaf),
    inclusionProof: { checkpoint: { envelope: one.note }, logIndex: one.index, hashes: one.path.map(bytes) },
  };
  try {
    const head = verifyCheckpoint(entry, [log]);
    verifyMerkleInclusion(entry, head);
    return { origin: head.origin, size: String(head.logSize) };
  } catch (error) {
    if (error.code !== "TLOG_INCLUSION_PROOF_ERROR") throw error;
    return { refused: error.message };
  }
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  process.stdout.write(`${JSON.stringify(read(JSON.parse(line)))}\n`);
});
