// The page with a hundred thousand checks. Its times are reported; the bounds are those of a page that works at all, since
// the machine may be busy and hc-server is a build without optimization.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { PATIENCE, Server, startBrowser, until, Window } from "./rig.js";
import { many, MANY } from "./scene.js";

const BOUND = 10_000;

/** @type {Server} */
let server;
let stop = () => {};
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  const scene = await many();
  stop = scene.stop;
  browser = await startBrowser();
  server = await Server.start(scene.text);
  /** @returns {Promise<{ checks: Record<string, number> }>} */
  const status = async () => (await fetch(`${server.url}/api/v1/status`)).json();
  await until("all checks to be there", async () => (await status()).checks.total === MANY, 4 * PATIENCE);
  await until("two groups to be probed", async () => (await status()).checks.unknown === MANY - 2 * 4094, 4 * PATIENCE);
});

after(async () => {
  await browser?.close();
  await server?.stop();
  stop();
});

test("a hundred thousand checks", { timeout: 20 * PATIENCE }, async (t) => {
  const count = MANY.toLocaleString("en");
  const began = performance.now();
  const window = await Window.open(browser, server.url);
  const { page } = window;
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0);
  await until("the first rows", async () => (await window.lines()).length > 10);
  const rows = performance.now() - began;
  await until("all rows", async () => (await page.locator("#chips [data-show=all] b").textContent()) === count && !(await page.locator("#services-more").textContent())?.includes("read so far"), 4 * PATIENCE);
  const all = performance.now() - began;
  // Two groups are down or up; the rest is without a verdict.
  await window.shows("#services-headline", "4,094 checks are down");
  /** The longest of the latest drawings, in milliseconds, and forgets them. */
  const drawing = () =>
    page.evaluate(() => {
      const times = performance.getEntriesByName("hc-show", "measure").map((measure) => measure.duration);
      performance.clearMeasures();
      return Math.max(0, ...times);
    });
  await drawing();
  await page.getByLabel("group by").selectOption("");
  const regrouped = await drawing();
  const search = page.getByLabel(/^Search/);
  /** From the key to the frame that shows what it filters, in milliseconds. @param {string} text */
  const filter = (text) =>
    page.evaluate(async (text) => {
      const search = /** @type {HTMLInputElement} */ (document.getElementById("search"));
      const began = performance.now();
      search.value = text;
      search.dispatchEvent(new Event("input", { bubbles: true }));
      await new Promise((resolve) =>
        requestAnimationFrame(() => {
          // Behind the frame.
          const { port1, port2 } = new MessageChannel();
          port1.onmessage = resolve;
          port2.postMessage(null);
        }),
      );
      return performance.now() - began;
    }, text);
  const filters = [];
  for (const text of ["p", "pool-7", "-pool-7", "refused", "group=service-9", "", "pool-7/127.7.0"]) filters.push(await filter(text));
  await window.shows("#shown", `255 of ${count} checks`);
  filters.sort((a, b) => a - b);
  const [filtered = 0, slowest = 0] = [filters[filters.length >> 1], filters.at(-1)];
  await search.fill("");
  await page.getByRole("button", { name: /^All/ }).click();
  await drawing();
  await page.locator("#grid").focus();
  await page.keyboard.press("End");
  await until("the last row", async () => (await page.locator("#rows .line.active").getAttribute("aria-rowindex")) === String(MANY));
  const lines = await page.locator("#rows .line").count();
  assert(lines < 120, `${lines} lines exist`);
  const scroll = await page.evaluate(async () => {
    let longest = 0;
    let before = performance.now();
    for (let step = 0; step < 60; step += 1) {
      scrollTo(0, (step / 60) * document.body.scrollHeight);
      await new Promise((resolve) => requestAnimationFrame(resolve));
      longest = Math.max(longest, performance.now() - before);
      before = performance.now();
    }
    return longest;
  });
  await drawing();
  await page.keyboard.press("2");
  await window.shows("#legend", "down");
  const heat = await drawing();
  await window.shot("heat");
  const heap = await page.evaluate(() => /** @type {any} */ (performance).memory.usedJSHeapSize / 2 ** 20);
  const ms = (/** @type {number} */ value) => `${Math.round(value)} ms`;
  t.diagnostic(
    `${count} checks: first paint ${ms(paint)}, first rows ${ms(rows)}, all rows ${ms(all)}, a filter ${ms(filtered)} (median of ${filters.length}, at most ${ms(slowest)}), another grouping ${ms(regrouped)}, the longest frame of a scroll ${ms(scroll)}, heat map ${ms(heat)}; ${Math.round(heap)} MiB of JavaScript`,
  );
  for (const [what, took] of /** @type {[string, number][]} */ ([["first paint", paint], ["filter", slowest], ["heat map", heat], ["scroll", scroll]])) {
    assert(took < BOUND, `${what}: ${ms(took)}`);
  }
  await window.close();
});
