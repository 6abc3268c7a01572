// A real hc-server with real backends, and Chromium in front of it.

/** @import { Browser, BrowserContextOptions, Page } from "playwright-core" */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { chromium } from "playwright-core";

const ROOT = path.resolve(import.meta.dirname, "../..");
const TARGET = process.env.CARGO_TARGET_DIR ?? path.join(ROOT, "target");
const BIN = process.env.HC_BIN ?? path.join(TARGET, "bin");
/** Where screenshots go. */
export const SHOTS = process.env.HC_SCREENSHOTS ?? path.join(TARGET, "page-screenshots");
/** How long a test waits for what should come at once, on a busy machine. */
export const PATIENCE = 30_000;

const BROWSERS = ["/usr/bin/chromium", "/usr/bin/google-chrome", "/usr/bin/google-chrome-stable", "/usr/bin/chromium-browser"];

/** @returns {Promise<Browser>} */
export async function startBrowser() {
  const executablePath = process.env.HC_CHROMIUM ?? BROWSERS.find((file) => existsSync(file));
  assert(executablePath, `no Chromium at ${BROWSERS.join(", ")}; HC_CHROMIUM names another place`);
  // As root there is no sandbox, and a container's /dev/shm is small.
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"] });
}

/**
 * Waits until something holds.
 * @param {string} what
 * @param {() => Promise<boolean> | boolean} holds
 * @param {number} [patience] milliseconds
 */
export async function until(what, holds, patience = PATIENCE) {
  const limit = Date.now() + patience;
  while (!(await holds())) {
    assert(Date.now() < limit, `waited ${patience / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A port that was free just now. @returns {Promise<number>} */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = /** @type {net.AddressInfo} */ (server.address());
      server.close(() => resolve(port));
    });
  });
}

/**
 * A port at which nobody listens, and nobody will while it is held: it is the own end of a connection.
 * @returns {Promise<{ port: number, release: () => void }>}
 */
export async function closedPort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(null)));
  const socket = net.connect(/** @type {net.AddressInfo} */ (server.address()).port, "127.0.0.1");
  await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
  const release = () => {
    socket.destroy();
    server.close();
  };
  return { port: socket.localPort ?? 0, release };
}

/**
 * A web server behind TLS whose certificate ends in three days.
 * @returns {Promise<{ port: number, stop: () => void }>}
 */
export async function endingSoon() {
  const directory = mkdtempSync(path.join(tmpdir(), "hc-page-tls-"));
  const [key, cert] = [path.join(directory, "key.pem"), path.join(directory, "cert.pem")];
  try {
    const made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=shop.example", "-days", "3", "-keyout", key, "-out", cert];
    execFileSync("openssl", made, { stdio: ["ignore", "ignore", "pipe"] });
    const server = https.createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (_, response) => response.end("well\n"));
    await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(null)));
    const { port } = /** @type {net.AddressInfo} */ (server.address());
    const stop = () => {
      server.closeAllConnections();
      server.close();
    };
    return { port, stop };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** A web server that answers as it is told. */
export class Backend {
  status = 200;
  body = "well\n";

  /** @param {number} port */
  static async start(port = 0) {
    const backend = new Backend();
    backend.server = http.createServer((_, response) => {
      response.writeHead(backend.status, { "content-type": "text/html" }).end(backend.body);
    });
    await new Promise((resolve) => backend.server?.listen(port, "127.0.0.1", () => resolve(null)));
    return backend;
  }

  /** @type {http.Server | undefined} */
  server;

  get address() {
    const { port } = /** @type {net.AddressInfo} */ (this.server?.address());
    return `127.0.0.1:${port}`;
  }

  stop() {
    this.server?.closeAllConnections();
    this.server?.close();
  }
}

/** hc-server with a file of checks, on a port of its own. */
export class Server {
  /** @type {import("node:child_process").ChildProcess | undefined} */
  #child;
  directory = mkdtempSync(path.join(tmpdir(), "hc-page-"));
  port = 0;

  /** @param {string} checks the file of checks */
  static async start(checks) {
    const server = new Server();
    server.port = await freePort();
    const file = server.checks;
    writeFileSync(file, checks);
    const config = `[source]\nkind = "file"\nfiles = [${JSON.stringify(file)}]\n\n[admin]\nlisten = "127.0.0.1:${server.port}"\n\n[[sink]]\nname = "changes"\nkind = "log"\npath = ${JSON.stringify(path.join(server.directory, "changes.log"))}\n`;
    writeFileSync(path.join(server.directory, "hc-server.toml"), config);
    mkdirSync(path.join(server.directory, "state"));
    try {
      await server.begin();
    } catch (error) {
      // Nobody else knows of it yet.
      await server.stop();
      throw error;
    }
    return server;
  }

  /** The file of checks. */
  get checks() {
    return path.join(this.directory, "checks.toml");
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  get socket() {
    return path.join(this.directory, "hc-admin.sock");
  }

  /** Starts it, again after it was killed. */
  async begin() {
    const { directory } = this;
    const log = path.join(directory, "hc-server.log");
    const args = ["--config", path.join(directory, "hc-server.toml"), "--socket", path.join(directory, "hc.sock"), "--state-dir", path.join(directory, "state")];
    const child = spawn(path.join(BIN, "hc-server"), args, { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (data) => writeFileSync(log, data, { flag: "a" }));
    }
    this.#child = child;
    await until("hc-server to answer", async () => {
      assert(child.exitCode === null, `hc-server ended: ${existsSync(log) ? readFileSync(log, "utf8").slice(-2000) : ""}`);
      return fetch(`${this.url}/livez`).then((response) => response.ok, () => false);
    }, 4 * PATIENCE);
  }

  /** @param {NodeJS.Signals} signal */
  signal(signal) {
    this.#child?.kill(signal);
  }

  async kill() {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    await new Promise((resolve) => {
      child.once("exit", resolve);
      child.kill("SIGKILL");
    });
  }

  async stop() {
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** @param {string[]} args */
  async hcctl(...args) {
    const child = spawn(path.join(BIN, "hcctl"), ["--socket", this.socket, ...args], { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr.on("data", (data) => (said += data));
    const status = await new Promise((resolve) => child.once("exit", resolve));
    assert.equal(status, 0, `hcctl ${args.join(" ")}: ${said}`);
  }
}

/** A page that fails a test for what it says on its console. */
export class Window {
  /** @type {string[]} */
  errors = [];

  /**
   * @param {Browser} browser
   * @param {string} url
   * @param {BrowserContextOptions} [options]
   */
  static async open(browser, url, options = {}) {
    return Window.#open(await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options }), url);
  }

  /**
   * Another tab of the same browser. It ends with the first.
   * @param {string} url
   */
  tab(url) {
    return Window.#open(this.page.context(), url, this.errors);
  }

  /**
   * @param {import("playwright-core").BrowserContext} context
   * @param {string} url
   * @param {string[]} [errors]
   */
  static async #open(context, url, errors = []) {
    const window = new Window();
    window.errors = errors;
    window.page = await context.newPage();
    window.page.setDefaultTimeout(PATIENCE);
    window.page.setDefaultNavigationTimeout(2 * PATIENCE);
    window.page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) window.errors.push(message.text());
    });
    window.page.on("pageerror", (error) => window.errors.push(String(error)));
    window.page.on("dialog", (dialog) => {
      window.errors.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    if (process.env.HC_PAGE_DIRECTORY) await fromDirectory(window.page, process.env.HC_PAGE_DIRECTORY);
    await window.page.goto(url);
    return window;
  }

  /** @type {Page} */
  // Set by `open`.
  page = /** @type {any} */ (undefined);

  /** @param {(error: string) => boolean} [expected] */
  async close(expected = () => false) {
    await this.page.context().close();
    assert.deepEqual(this.errors.filter((error) => !expected(error)), [], "the page has nothing to complain about");
  }

  /** @param {string} name */
  async shot(name) {
    mkdirSync(SHOTS, { recursive: true });
    await this.page.screenshot({ path: path.join(SHOTS, `${name}.png`) });
  }

  /** Lines of the list on the screen, as text. @returns {Promise<string[]>} */
  lines() {
    return this.page.evaluate(() =>
      [...document.querySelectorAll("#rows .line:not([hidden])")]
        .toSorted((a, b) => Number(a.getAttribute("aria-rowindex")) - Number(b.getAttribute("aria-rowindex")))
        .map((line) => /** @type {HTMLElement} */ (line).innerText.replaceAll(/\s+/g, " ").trim()),
    );
  }

  /**
   * @param {string} selector
   * @param {string | RegExp} text
   */
  async shows(selector, text) {
    await until(`${selector} to show ${text}`, async () => {
      const there = await this.page.locator(selector).first().textContent({ timeout: PATIENCE });
      return typeof text === "string" ? Boolean(there?.includes(text)) : text.test(there ?? "");
    }).catch(async (error) => {
      throw new Error(`${error.message}; it shows: ${await this.page.locator(selector).first().textContent()}`);
    });
  }
}

/**
 * Takes the page's files from a directory instead of from the program, to work on them without building it.
 * @param {Page} page
 * @param {string} directory
 */
async function fromDirectory(page, directory) {
  await page.route(/^[^?]*\/(page\/[^?]*)?(\?[^/]*)?$/, async (route) => {
    const { pathname } = new URL(route.request().url());
    const name = pathname === "/" ? "index.html" : pathname.replace("/page/", "");
    const response = await route.fetch();
    // A program that was built before the file was there does not have it.
    const contentType = name.endsWith(".js") ? "text/javascript" : response.headers()["content-type"];
    await route.fulfill({ response, status: 200, contentType, body: readFileSync(path.join(directory, name)) });
  });
}
