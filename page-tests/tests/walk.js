// The page on the wall, for `cargo xtask dist --check`: it is opened once and never loaded again. Each line of standard input is a look at it, as JSON:
// `{"look":"up","shot":"1-installed","checks":["web/a"]}`. The answer is `ok`, or why not, as a JSON string.

import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { startBrowser, until, Window } from "./rig.js";

/**
 * What is looked for; which of these a look needs is said there.
 * @typedef {object} Asked
 * @property {string} look
 * @property {string} shot
 * @property {string} url
 * @property {string[]} checks
 * @property {string} check
 * @property {string} says
 * @property {string} reason
 */

const browser = await startBrowser();
/** @type {Window | undefined} */
let opened;

/** @type {Record<string, (window: Window, asked: Asked) => Promise<void>>} */
const LOOKS = {
  /** All checks are up, and no others are there. */
  async up(window, { checks, shot }) {
    await isLive(window);
    await window.shows("#services-headline", `All ${checks.length} checks are up`);
    for (const check of checks) await hasLine(window, ["✓ up", check]);
    await window.shot(shot);
  },

  /** A check is down, and its line says why. */
  async down(window, { check, says, shot }) {
    await isLive(window);
    await hasLine(window, ["✕ down", check, says]);
    await window.shows("#services-headline", /check(s)? (is|are) down/);
    await until("the title to say it", async () => /\d down · /.test(await window.page.title()));
    await window.shot(shot);
  },

  /** Somebody clicks on the line of the check, and goes back. */
  async why(window, { check, says, shot }) {
    await window.page.locator("#rows .line", { hasText: check }).first().click();
    await window.shows("#check .check-head", "down");
    await window.shows("#check .reasons", says);
    // What the server in front of the application has answered.
    await window.shows("#check pre", `<h1>${says}</h1>`);
    await window.shows("#check", "hcctl explain");
    await window.shot(shot);
    await window.page.keyboard.press("Escape");
    await until("the list", () => window.page.locator("#grid").isVisible());
  },

  /** The list says that a check is muted, and the overrides say why. */
  async muted(window, { check, reason, shot }) {
    await isLive(window);
    await hasLine(window, [check, "muted"]);
    await window.page.keyboard.press("4");
    await window.shows(`#overrides tr:has-text('${check}')`, reason);
    await window.shot(shot);
    await window.page.keyboard.press("1");
  },

  /** Nothing answers, and the page shows nothing as if it did. */
  async lost(window, { checks, shot }) {
    await window.shows("#link", "connection lost");
    await window.shows("#notice", /No answer from hc-server\. What you see was true at .* ago/);
    for (const check of checks) await hasLine(window, ["was ", check]);
    assert((await window.lines()).every((line) => line.startsWith("▾") || line.includes("was ")), "every check was, and is not");
    await window.shot(shot);
  },
};

/** @param {Window} window */
const isLive = (window) => window.shows("#link", "live");

/**
 * Waits until a line has all of these words.
 * @param {Window} window
 * @param {string[]} words
 */
async function hasLine(window, words) {
  await until(`a line with ${words.join(", ")}`, async () => (await window.lines()).some((line) => words.every((word) => line.includes(word)))).catch(async (error) => {
    throw new Error(`${error.message}; there are:\n${(await window.lines()).join("\n")}`);
  });
}

/** @param {Asked} asked */
async function look(asked) {
  if (asked.look === "open") {
    opened = await Window.open(browser, asked.url);
    await opened.page.evaluate(() => Object.assign(window, { isTheOneThatWasOpened: true }));
    return;
  }
  const see = LOOKS[asked.look];
  assert(opened && see, `no look ${asked.look}`);
  try {
    await see(opened, asked);
    assert(await opened.page.evaluate(() => "isTheOneThatWasOpened" in window), "the page was loaded again");
  } catch (error) {
    await opened.shot(`${asked.shot}-failed`);
    throw error;
  }
}

for await (const line of createInterface(process.stdin)) {
  const answer = await look(JSON.parse(line)).then(() => "ok", (error) => JSON.stringify(String(error.message)));
  process.stdout.write(`${answer}\n`);
}
try {
  // While nothing answered, the browser said so.
  await opened?.close((error) => /ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|ERR_INCOMPLETE_CHUNKED_ENCODING/.test(error));
} finally {
  await browser.close();
}
