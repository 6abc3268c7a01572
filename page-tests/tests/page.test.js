// The page in front of a real hc-server with two dozen backends.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, afterEach, before, test } from "node:test";
import { contrasts } from "./contrast.js";
import { startBrowser, until, Window } from "./rig.js";
import { HOSTILE_NAME, Scene } from "./scene.js";

/** @type {Scene} */
let scene;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  [scene, browser] = await Promise.all([Scene.start(), startBrowser()]);
  await scene.server.hcctl("mute", "img-1", "--for", "30m", "--reason", "new disks, <i>ticket</i> 4711");
});

// The windows of a test that failed.
afterEach(() => Promise.all(browser.contexts().map((context) => context.close())));

after(async () => {
  await browser?.close();
  await scene?.stop();
});

/** @param {string} address @param {import("playwright-core").BrowserContextOptions} [options] */
const open = (address = "/", options = {}) => Window.open(browser, scene.server.url + address, options);

/** @param {Window} window */
async function isLive(window) {
  await window.shows("#link", "live");
  await until("all rows", async () => (await window.lines()).length > 10);
}

test("one look says what is wrong, and whether it is us", async () => {
  const window = await open();
  await window.shows("#services-headline", "3 checks are down");
  await window.shows("#services-more", /of 26 .* 1 with a warning/);
  await window.shows("#checker-more", "1 check is held because of this machine: local_unresolved");
  await until("the title to say it", async () => /3 down · /.test(await window.page.title()));
  await until("the worst group to be first", async () => /^▾ checkout 1 down.* of 5$/.test((await window.lines())[0] ?? ""));
  const lines = await window.lines();
  assert.match(lines[1] ?? "", /^✕ down pay-2 127\.0\.0\.1:\d+ .*got 503 Service Unavailable; want 200/);
  assert(lines.some((line) => line.includes("img-1") && line.includes("muted")), lines.join("\n"));
  assert(lines.some((line) => line.startsWith("‖ held resolver-1")), lines.join("\n"));
  assert(lines.some((line) => /^✓ up tls-1 .*warning.*warning: certificate ends in/.test(line)), lines.join("\n"));
  await until("samples of latencies", () => window.page.evaluate(() => document.querySelectorAll(".spark-line[points*=' ']").length > 5));
  await window.shot("checks");
  await window.close();
});

test("markup in names, labels, reasons and answers stays text", async () => {
  const window = await open();
  await window.shows("#rows", HOSTILE_NAME);
  await window.shows("#rows", "foreign <b>group</b>");
  await window.page.goto(`${scene.server.url}/?check=${encodeURIComponent(HOSTILE_NAME)}`);
  await window.shows("#check pre", "onerror=");
  await window.shows("#check h2", HOSTILE_NAME);
  await window.shows("#check", "hcctl explain '<img/src=x/onerror=window.taken='\\''name'\\''>'");
  await window.shot("hostile");
  await window.page.goto(`${scene.server.url}/?view=overrides`);
  await window.shows("#overrides", "<i>ticket</i> 4711");
  for (const query of ["view=changes", "view=heat", `q=${encodeURIComponent("<script>window.taken='q'</script>")}`, "check=%3Cimg+src=x%3E"]) {
    await window.page.goto(`${scene.server.url}/?${query}`);
    await window.shows("#link", "live");
  }
  assert.equal(await window.page.evaluate(() => /** @type {any} */ (window).taken), undefined);
  assert.equal(await window.page.locator("main img, main script, main b:not(.chip b), main i:not(#legend i)").count(), 0);
  // And if a script tried, the browser would not let it.
  const error = await window.page.evaluate(() => {
    try {
      document.body.insertAdjacentHTML("beforeend", "<p>");
      return "it was let";
    } catch (error) {
      return String(error);
    }
  });
  assert.match(error, /TrustedHTML/);
  await window.close((error) => /TrustedHTML|404/.test(error));
});

test("filters are in the address, and the way back leads back", async () => {
  const window = await open();
  await isLive(window);
  const { page } = window;
  await page.getByRole("button", { name: /^Down/ }).click();
  await until("those that are down alone", async () => (await window.lines()).filter((line) => !line.startsWith("▾")).every((line) => line.startsWith("✕ down")));
  assert.match(page.url(), /\?show=down$/);
  await page.getByRole("button", { name: /^All/ }).click();
  await page.getByLabel("group by").selectOption("");
  await page.getByLabel(/^Search/).fill("index group=search");
  await until("two rows", async () => (await window.lines()).length === 2);
  await window.shows("#shown", "2 of 26 checks");
  await page.reload();
  await until("two rows again", async () => (await window.lines()).length === 2);
  assert.equal(await page.getByLabel(/^Search/).inputValue(), "index group=search");
  await page.getByRole("gridcell", { name: "index-1" }).click();
  await window.shows("#check h2", "index-1");
  assert.match(page.url(), /check=index-1/);
  await page.goBack();
  await until("the list again", async () => (await window.lines()).length === 2 && (await page.locator("#grid").isVisible()));
  await page.getByLabel(/^Search/).fill("no such thing");
  await window.shows("#nothing:visible", "No check is like that.");
  await window.close();
});

test("everything can be reached with the keyboard", async () => {
  const window = await open();
  await isLive(window);
  const { page } = window;
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement?.className), "skip");
  await page.keyboard.press("/");
  await page.keyboard.type("-pay group=checkout");
  await until("three rows and their group", async () => (await window.lines()).length === 4);
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  const active = () => page.evaluate(() => document.getElementById(document.getElementById("grid")?.getAttribute("aria-activedescendant") ?? "")?.innerText.replaceAll(/\s+/g, " "));
  await until("cart-1 to be active", async () => /cart-1/.test((await active()) ?? ""));
  await page.keyboard.press("j");
  await page.keyboard.press("k");
  await page.keyboard.press("Enter");
  await window.shows("#check h2", "cart-1");
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), "cart-1");
  await page.keyboard.press("Escape");
  await until("the list to have the focus", () => page.evaluate(() => document.activeElement?.id === "grid"));
  await page.keyboard.press("Home");
  await page.keyboard.press("Enter");
  await until("the group to be folded", async () => (await window.lines()).length === 1 && (await active())?.startsWith("▸") === true);
  await page.keyboard.press("Enter");
  for (const [key, view] of [["2", "heat"], ["3", "changes"], ["4", "overrides"], ["5", "checker"], ["1", "checks"]]) {
    await page.keyboard.press(key ?? "");
    assert(await page.locator(`#view-${view}`).isVisible(), view);
    assert.equal(await page.locator("#views [aria-current]").getAttribute("data-view"), view);
  }
  await page.keyboard.press("2");
  await page.locator("#heat-canvas").focus();
  await page.keyboard.press("End");
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowRight");
  await window.shows("#heat-tip:visible", "cart-2: up");
  await page.keyboard.press("Enter");
  await window.shows("#check h2", "cart-2");
  await page.keyboard.press("?");
  assert(await page.locator("#help").isVisible());
  await page.keyboard.press("Escape");
  assert(!(await page.locator("#help").isVisible()));
  await window.close();
});

test("a check explains itself", async () => {
  const window = await open("/?check=pay-2", { permissions: ["clipboard-read", "clipboard-write"] });
  await window.shows("#check .check-head", /down.*since/);
  await window.shows("#check", "One probe that passes makes it healthy.");
  await window.shows("#check pre", "the database is away");
  await window.shows("#check .phases", "first byte");
  await window.shows("#check .command", "curl");
  await window.shows("#check", "hcctl explain pay-2");
  await window.page.getByRole("button", { name: /^Copy: hcctl explain/ }).click();
  await until("the command to be in the clipboard", async () => (await window.page.evaluate(() => navigator.clipboard.readText())) === "hcctl explain pay-2");
  await window.shot("check");
  await window.page.goto(`${scene.server.url}/?check=nobody`);
  await window.shows("#check .trouble", 'no check with the id or name "nobody"');
  await window.close((error) => error.includes("404"));
});

test("what is wrong before it hurts is said, of a check and of the checker", async () => {
  const window = await open("/?show=warned&group=");
  await until("the check with a warning alone", async () => (await window.lines()).join().includes("tls-1") && (await window.lines()).length === 1);
  await window.page.getByRole("gridcell", { name: "tls-1" }).click();
  await window.shows("#check .warning", /^Warning: certificate ends in \d days?, at /);
  await window.page.goto(`${scene.server.url}/`);
  await isLive(window);
  const { server } = scene;
  const checks = readFileSync(server.checks, "utf8");
  writeFileSync(server.checks, "nonsense");
  server.signal("SIGHUP");
  try {
    await window.shows("#checker-headline", "The checker is");
    await window.shows("#checker-more", "the files of checks are wrong");
  } finally {
    writeFileSync(server.checks, checks);
    server.signal("SIGHUP");
  }
  await until("it to be well again", async () => !(await window.page.locator("#checker-more").textContent())?.includes("files of checks"));
  await window.close();
});

test("a view is as it was when somebody comes back from a check", async () => {
  const window = await open("/?group=", { viewport: { width: 1440, height: 500 } });
  await isLive(window);
  const { page } = window;
  const top = () => page.evaluate(() => scrollY);
  const focus = () => page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent);
  for (const [way, back] of /** @type {[string, () => Promise<unknown>][]} */ ([["Esc", () => page.keyboard.press("Escape")], ["the browser's own way", () => page.goBack()]])) {
    await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
    const last = page.locator("#rows .line:has-text('www-6')");
    await last.scrollIntoViewIfNeeded();
    const before = await top();
    assert(before > 0, "the list is longer than the screen");
    await last.click();
    await window.shows("#check h2", "www-6");
    assert.equal(await top(), 0, way);
    await back();
    await until(`the list by ${way}`, async () => (await top()) === before && (await focus()) === "grid");
  }
  // And where links lead to the check.
  await page.keyboard.press("4");
  await window.shows("#overrides", "img-1");
  const link = page.locator("#overrides a:has-text('img-1')");
  await link.focus();
  await page.keyboard.press("Enter");
  await window.shows("#check h2", "img-1");
  await page.keyboard.press("Escape");
  await until("the link to have the focus", async () => (await focus()) === "img-1" && (await link.isVisible()));
  await window.close();
});

test("eight tabs of one browser are live at once", async () => {
  const first = await open();
  const windows = [first];
  for (let tab = 2; tab <= 8; tab += 1) windows.push(await first.tab(scene.server.url));
  for (const window of windows) await isLive(window);
  let reads = 0;
  first.page.context().on("request", (request) => {
    if (request.url().includes("/api/v1/transitions")) reads += 1;
  });
  scene.backend("index-1").status = 503;
  for (const window of windows) {
    await window.page.keyboard.press("3");
    await window.shows("#changes li:first-child", /index-1.*down/);
  }
  // The stream outlives the tab that was the first to want it.
  await windows[0]?.page.close();
  scene.backend("index-1").status = 200;
  for (const window of windows.slice(1)) await window.shows("#changes li:first-child", /index-1.*up/);
  // Without events each tab would have read them after some seconds.
  assert(reads < windows.length - 1, `${reads} tabs have read changes, which should come as events`);
  await first.close();
});

test("without shared workers only what is looked at has a stream", async () => {
  const first = await open();
  await first.page.context().addInitScript(() => {
    Object.assign(window, { SharedWorker: undefined, looks: true });
    Object.defineProperty(document, "hidden", { get: () => !(/** @type {any} */ (window).looks) });
    Object.defineProperty(document, "visibilityState", { get: () => (document.hidden ? "hidden" : "visible") });
  });
  /** @param {Window} window @param {boolean} looks */
  const look = (window, looks) =>
    window.page.evaluate((looks) => {
      Object.assign(globalThis, { looks });
      document.dispatchEvent(new Event("visibilitychange"));
    }, looks);
  /** @type {Window[]} */
  const windows = [];
  for (let tab = 1; tab <= 8; tab += 1) {
    for (const window of windows) await look(window, false);
    windows.push(await first.tab(scene.server.url));
    await isLive(/** @type {Window} */ (windows.at(-1)));
  }
  const [oldest] = windows;
  assert(oldest);
  scene.backend("index-2").status = 503;
  await until("the title of a tab in the background", async () => /\b4 down/.test(await oldest.page.title()));
  await look(oldest, true);
  scene.backend("index-2").status = 200;
  await oldest.page.keyboard.press("3");
  await oldest.shows("#changes li:first-child", /index-2.*up/);
  await first.close();
});

test("changes show up as they happen", async () => {
  const window = await open("/", { viewport: { width: 1720, height: 950 } });
  await isLive(window);
  scene.backend("search-2").status = 503;
  await window.shows("#side-changes li:has-text('search-2')", "down");
  await until("its row to be down", async () => (await window.lines()).some((line) => line.startsWith("✕ down search-2")));
  scene.backend("search-2").status = 200;
  await window.shows("#side-changes li:has-text('search-2')", "up");
  await until("its row to be up", async () => (await window.lines()).some((line) => line.startsWith("✓ up search-2") && line.includes("ago: got 503")));
  await window.page.keyboard.press("3");
  await window.shows("#changes li:has-text('search-2')", /search-2.*up/);
  await window.shot("changes");
  await window.close();
});

test("overrides say who, why and until when", async () => {
  const window = await open("/?view=overrides");
  await scene.server.hcctl("force", "down", "www-6", "--for", "2h", "--reason", "disk replaced");
  await window.shows("#overrides tr:has-text('www-6')", /forced unhealthy.*disk replaced.*until .* more.*hcctl unforce www-6/);
  await window.shot("overrides");
  await window.page.locator("#overrides a:has-text('www-6')").click();
  await window.shows("#check", "because of: override");
  await scene.server.hcctl("unforce", "www-6");
  await window.shows("#check section:has-text('Its last changes')", /forced unhealthy until .*by .*: disk replaced/);
  await until("the override to be gone", async () => !(await window.page.locator("#check").textContent())?.includes("because of: override"));
  await window.shows("#check section:has-text('Its last changes')", /no longer forced unhealthy: ended by .*forced unhealthy until /);
  await window.close();
});

test("the checker shows its own timing", async () => {
  const window = await open("/?view=checker");
  await window.shows("#checker .tile", /probes a second\s*\d/);
  await window.shows("#checker", "began late, 99 of 100, in the last minute");
  await window.shows("#checker table >> nth=0", /on time/);
  await window.shows("#checker", /\d sets? of checks took effect/);
  await window.shot("checker");
  await window.close();
});

test("light and dark follow the system, or the switch", async () => {
  const window = await open("/", { colorScheme: "dark" });
  await isLive(window);
  const ground = () => window.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await ground();
  await window.shot("dark");
  await window.page.emulateMedia({ colorScheme: "light" });
  const light = await ground();
  assert.notEqual(dark, light);
  await window.page.keyboard.press("t");
  await window.page.locator("#theme").click();
  assert.equal(await window.page.locator("#theme").textContent(), "dark");
  assert.equal(await ground(), dark);
  await window.page.reload();
  assert.equal(await ground(), dark);
  await window.close();
});

test("every text has the contrast of WCAG AA, in both themes", async () => {
  // What each page shows when all of it is there.
  /** @type {Record<string, [string, string]>} */
  const whole = {
    "": ["#rows", "pay-2"], "?show=down": ["#rows", "pay-2"], "?view=heat": ["#link", "live"], "?view=changes": ["#changes", "search-2"],
    "?view=overrides": ["#overrides", "4711"], "?view=checker": ["#checker", "on time"],
    "?check=pay-2": ["#check", "hcctl explain"], "?check=img-1": ["#check", "hcctl explain"],
  };
  for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
    const window = await open("/", { colorScheme });
    await isLive(window);
    for (const [query, [part, text]] of Object.entries(whole)) {
      await window.page.goto(`${scene.server.url}/${query}`);
      await window.shows("#link", "live");
      await window.shows(part, text);
      const { texts, low } = await contrasts(window.page);
      assert(texts > 15, `${query}: ${texts} texts`);
      assert.deepEqual(low, [], `${colorScheme} ${query}`);
      // Nothing is held to be live that is not: the same when the connection is lost.
      const lost = await contrasts(window.page, true);
      assert(lost.texts > 15, `${query}, lost: ${lost.texts} texts`);
      assert.deepEqual(lost.low, [], `${colorScheme} ${query}, lost`);
    }
    await window.close();
  }
});

test("it fits a phone", async () => {
  const window = await open("/", { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 });
  await isLive(window);
  const { page } = window;
  for (const query of ["", "?view=heat", "?view=changes", "?view=overrides", "?view=checker", "?check=pay-2"]) {
    await page.goto(`${scene.server.url}/${query}`);
    await window.shows("#link", "live");
    if (query.includes("check=")) await window.shows("#check", "hcctl explain");
    const beyond = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert(beyond <= 0, `${query} is ${beyond} pixels too wide`);
  }
  await page.goto(`${scene.server.url}/`);
  await isLive(window);
  await window.shot("phone");
  await page.locator("#rows .line:has-text('pay-2')").tap();
  await window.shows("#check h2", "pay-2");
  await window.close();
});

test("rows that cannot be read are not shown as live, whatever else is answered", async () => {
  const window = await open();
  await isLive(window);
  await window.page.route("**/api/v1/rows**", (route) => route.abort());
  await window.shows("#link", "connection lost");
  await window.page.unroute("**/api/v1/rows**");
  await window.shows("#link", "live");
  await window.close((error) => /ERR_FAILED/.test(error));
});

test("a connection that is lost never leaves anything green", async () => {
  const window = await open();
  await isLive(window);
  const { page } = window;
  const { server } = scene;
  const green = () => page.evaluate(() => document.querySelectorAll("#rows .line:not([hidden]) .word").length > 0 && [...document.querySelectorAll("#rows .line:not(.is-group, [hidden]) .word")].some((word) => !word.textContent?.startsWith("was ")));
  // It says nothing any more, and keeps its connections.
  server.signal("SIGSTOP");
  await window.shows("#link", "connection lost");
  await window.shows("#notice", /No answer from hc-server\. What you see was true at .* ago/);
  assert(!(await green()));
  const tones = await page.evaluate(() => new Set([...document.querySelectorAll("#rows .line:not([hidden]) .state")].map((state) => getComputedStyle(state).color)).size);
  assert.equal(tones, 1, "all rows have one colour");
  assert.match(await page.title(), /^lost · /);
  await window.shot("lost");
  server.signal("SIGCONT");
  await isLive(window);
  // It stood still: probes of the last minute were late.
  await window.shows("#checker-more", /\d+ of \d+ probes of the last minute began more than 500 ms late/);
  await until("rows to be live again", async () => green());
  // It is gone, and comes back as another process.
  await server.kill();
  await window.shows("#link", "connection lost");
  await page.keyboard.press("3");
  await page.keyboard.press("1");
  assert(!(await green()));
  scene.backend("files-3").status = 503;
  await server.begin();
  await isLive(window);
  await until("what happened meanwhile", async () => (await window.lines()).some((line) => line.startsWith("✕ down files-3")));
  scene.backend("files-3").status = 200;
  await until("events of the new process", async () => (await window.lines()).some((line) => line.startsWith("✓ up files-3")));
  await window.close((error) => /ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|ERR_INCOMPLETE_CHUNKED_ENCODING/.test(error));
});
