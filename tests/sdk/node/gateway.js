// Starts `portcullis demo` as a newcomer would, and loads the SDK from wherever the test runner installed it.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
export const binary = process.env.PORTCULLIS_BIN || path.join(root, "target/debug/portcullis");
export const plugins = process.env.PORTCULLIS_PLUGINS || path.join(root, "target/plugins");
const modules = process.env.PORTCULLIS_NODE_MODULES || path.join(root, "target/sdk/node/node_modules");
// Compiled code, kept for all tests, those in Rust too.
export const cache = path.join(tmpdir(), "portcullis-tests-code");
const START_MS = 120_000;

/** A package of the pinned ones. */
export async function load(name) {
  const require = createRequire(path.join(modules, "anything.js"));
  return await import(pathToFileURL(require.resolve(name)).href);
}

/** The official SDK. */
export const openai = () => load("openai");

/** A running demo: `{ url, key, stop }`, `url` with `/v1`. */
export async function demo() {
  const data = mkdtempSync(path.join(tmpdir(), "portcullis-node-"));
  const where = ["--listen", "127.0.0.1:0", "--plugins", plugins, "--data", data, "--cache", cache];
  const child = spawn(binary, ["demo", ...where, "--token-delay", "1"], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, OPENAI_API_KEY: "", ANTHROPIC_API_KEY: "" },
  });
  let said = "";
  const stop = async () => {
    if (child.exitCode === null) {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      await ended;
    }
    rmSync(data, { recursive: true, force: true });
  };
  const found = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no start:\n${said}`)), START_MS);
    const listen = (chunk) => {
      said += chunk;
      const url = /base URL +(\S+)/.exec(said);
      const key = /\n +key +(\S+)/.exec(said);
      if (url && key) {
        clearTimeout(timer);
        resolve({ url: url[1], key: key[1] });
      }
    };
    child.stdout.on("data", listen);
    child.stderr.on("data", listen);
    child.once("exit", (code) => {
      clearTimeout(timer);
      reject(new Error(`ended with ${code}:\n${said}`));
    });
  });
  return { ...found, stop };
}
