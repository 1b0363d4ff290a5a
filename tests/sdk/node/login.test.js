// People at a real issuer: they log in to the admin API with a browser's means, cookies and redirects, and with nothing else.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";

import { binary, cache, load, plugins } from "./gateway.js";

const PEOPLE = {
  ada: { email: "ada@example.org", email_verified: true },
  // Another person to whom the issuer has given the same address.
  mallory: { email: "ada@example.org", email_verified: true },
  unsure: { email: "grace@example.org", email_verified: false },
  stranger: { email: "nobody@example.org", email_verified: true },
  barbara: { email: "barbara@example.org", email_verified: true },
};
const START_MS = 120_000;

let folder, issuer, gateway, child;

async function free() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function ran(...args) {
  const env = { ...process.env, PORTCULLIS_CONFIG: path.join(folder, "portcullis.toml"), OIDC_SECRET: "s3cret" };
  return JSON.parse(execFileSync(binary, [...args, "--json"], { env, encoding: "utf8" }));
}

before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "portcullis-login-"));
  const [own, theirs] = [await free(), await free()];
  gateway = `http://127.0.0.1:${own}`;
  const redirect = `${gateway}/admin/v1/login/callback`;
  const { default: Provider } = await load("oidc-provider");
  const provider = new Provider(`http://127.0.0.1:${theirs}`, {
    clients: [{ client_id: "portcullis", client_secret: "s3cret", redirect_uris: [redirect] }],
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
    cookies: { keys: ["a key of the test"] },
    findAccount: async (_, id) => ({ accountId: id, claims: async () => ({ sub: id, ...PEOPLE[id] }) }),
    pkce: { required: () => true },
  });
  issuer = provider.listen(theirs, "127.0.0.1");
  const quoted = JSON.stringify;
  writeFileSync(
    path.join(folder, "portcullis.toml"),
    `[server]\nlisten = "127.0.0.1:${own}"\n[store]\npath = ${quoted(path.join(folder, "portcullis.db"))}\n` +
      `[plugins]\ndirectory = ${quoted(plugins)}\ncache = ${quoted(cache)}\nstate = ${quoted(path.join(folder, "state"))}\n` +
      `[admin.oidc]\nissuer = "http://127.0.0.1:${theirs}"\nclient_id = "portcullis"\nclient_secret = "\${OIDC_SECRET}"\n` +
      `redirect_url = "${redirect}"\n`,
  );
  for (const [email, name] of [["ada@example.org", "Ada"], ["grace@example.org", "Grace"], ["barbara@example.org", "Barbara"]]) {
    ran("member", "create", "--email", email, "--name", name, "--role", "superadmin");
  }
  const env = { ...process.env, OIDC_SECRET: "s3cret", PORTCULLIS_CONFIG: path.join(folder, "portcullis.toml") };
  child = spawn(binary, ["serve"], { env, stdio: ["ignore", "pipe", "inherit"] });
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("no start")), START_MS);
    child.stdout.on("data", (chunk) => `${chunk}`.includes("listening on") && (clearTimeout(timer), resolve()));
    child.once("exit", (code) => (clearTimeout(timer), reject(new Error(`ended with ${code}`))));
  });
});

after(async () => {
  issuer?.close();
  issuer?.closeAllConnections();
  if (child && child.exitCode === null) {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await ended;
  }
  rmSync(folder, { recursive: true, force: true });
});

/** What a browser does: it keeps cookies for each server and goes where it is sent. */
class Browser {
  #jars = new Map();

  cookie(url, name) {
    return this.#jars.get(new URL(url).origin)?.get(name);
  }

  async ask(url, { method = "GET", headers = {}, body } = {}) {
    const jar = this.#jars.get(new URL(url).origin) ?? new Map();
    this.#jars.set(new URL(url).origin, jar);
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
    const sent = cookie ? { ...headers, cookie } : headers;
    const answer = await fetch(url, { method, headers: sent, body, redirect: "manual" });
    for (const line of answer.headers.getSetCookie()) {
      const [name, value] = line.split(";")[0].split(/=(.*)/s);
      if (value === "" || /max-age=0|expires=Thu, 01 Jan 1970/i.test(line)) jar.delete(name);
      else jar.set(name, value);
    }
    return answer;
  }

  /** Logs in at the issuer as somebody; the answer of the gateway's callback. */
  async login(who, to = `${gateway}/admin/v1/login`) {
    let at = to;
    let answer = await this.ask(at);
    for (let step = 0; step < 20; step++) {
      if (answer.status >= 300 && answer.status < 400) {
        at = new URL(answer.headers.get("location"), at).href;
        const back = at.startsWith(`${gateway}/admin/v1/login/callback`);
        answer = await this.ask(at);
        if (back) return answer;
      } else {
        const page = await answer.text();
        assert.equal(answer.status, 200, page);
        const action = /action="([^"]+)"/.exec(page)?.[1];
        const prompt = /name="prompt" value="([^"]+)"/.exec(page)?.[1];
        assert.ok(action && prompt, page);
        const body = new URLSearchParams({ prompt, ...(prompt === "login" && { login: who, password: "x" }) });
        at = new URL(action, at).href;
        answer = await this.ask(at, { method: "POST", body });
      }
    }
    assert.fail("it goes in circles");
  }
}

test("a member logs in, acts, and logs out", async () => {
  const browser = new Browser();
  const begun = await browser.ask(`${gateway}/admin/v1/login`);
  assert.equal(begun.status, 303);
  const [kept] = begun.headers.getSetCookie();
  for (const part of ["HttpOnly", "SameSite=Lax", "Path=/admin/v1/login"]) assert.ok(kept.includes(part), kept);
  const sent = new URL(begun.headers.get("location"));
  assert.equal(sent.searchParams.get("code_challenge_method"), "S256");
  assert.ok(sent.searchParams.get("state") && sent.searchParams.get("nonce"));

  const back = await browser.login("ada", `${gateway}/admin/v1/login?return_to=/admin/v1/organisations`);
  assert.equal(back.status, 303, await back.text());
  assert.equal(back.headers.get("location"), "/admin/v1/organisations");
  const session = back.headers.getSetCookie().find((line) => line.startsWith("portcullis_session="));
  assert.ok(/HttpOnly/.test(session) && /SameSite=Lax/.test(session) && /Path=\/admin(;|$)/.test(session), session);

  const self = await browser.ask(`${gateway}/admin/v1/self`);
  assert.equal(self.status, 200);
  assert.match(await self.text(), /mem_/);
  // The cookie alone changes nothing: it needs a page of ours.
  const make = (headers) =>
    browser.ask(`${gateway}/admin/v1/organisations`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify({ name: "by a page" }),
    });
  for (const headers of [{}, { "sec-fetch-site": "cross-site" }, { origin: "https://evil.example" }]) {
    const refused = await make(headers);
    assert.equal(refused.status, 403, JSON.stringify(headers));
    assert.equal((await refused.json()).code, "cross_site");
  }
  assert.equal((await make({ "sec-fetch-site": "same-origin" })).status, 201);
  const trail = await (await browser.ask(`${gateway}/admin/v1/audit-events?limit=200`)).text();
  assert.match(trail, /member\.login/);

  const token = browser.cookie(gateway, "portcullis_session");
  assert.ok(!trail.includes(token));
  const out = await browser.ask(`${gateway}/admin/v1/logout`, { method: "POST", headers: { "sec-fetch-site": "same-origin" } });
  assert.equal(out.status, 204);
  assert.equal(browser.cookie(gateway, "portcullis_session"), undefined);
  const ended = await fetch(`${gateway}/admin/v1/self`, { headers: { cookie: `portcullis_session=${token}` } });
  assert.equal(ended.status, 401);
});

test("whom the issuer vouches for is not thereby let in", async () => {
  // Ada has been here: nobody else is Ada, whatever the issuer says of their address.
  await new Browser().login("ada");
  for (const who of ["mallory", "unsure", "stranger"]) {
    const browser = new Browser();
    const refused = await browser.login(who);
    assert.equal(refused.status, 403, who);
    assert.equal((await refused.json()).code, "login_refused");
    assert.equal(browser.cookie(gateway, "portcullis_session"), undefined);
  }
  ran("member", "suspend", "barbara@example.org");
  assert.equal((await new Browser().login("barbara")).status, 403);
  ran("member", "resume", "barbara@example.org");
  assert.equal((await new Browser().login("barbara")).status, 303);
});

test("what was not begun here is not finished here", async () => {
  const browser = new Browser();
  await browser.ask(`${gateway}/admin/v1/login`);
  const forged = await browser.ask(`${gateway}/admin/v1/login/callback?state=other&code=abc`);
  assert.equal(forged.status, 400);
  assert.equal((await forged.json()).code, "login_expired");
  const bare = await new Browser().ask(`${gateway}/admin/v1/login/callback?state=x&code=abc`);
  assert.equal(bare.status, 400);
  // A right state with a code that the issuer does not know.
  const begun = await browser.ask(`${gateway}/admin/v1/login`);
  const state = new URL(begun.headers.get("location")).searchParams.get("state");
  const unknown = await browser.ask(`${gateway}/admin/v1/login/callback?state=${state}&code=abc`);
  assert.equal(unknown.status, 403);
  const elsewhere = await new Browser().login("ada", `${gateway}/admin/v1/login?return_to=//evil.example/`);
  assert.equal(elsewhere.headers.get("location"), "/admin/v1/self");
});
