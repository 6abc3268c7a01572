// The one stream of events of a browser, for all its tabs: see events.js.
//
// A tab sends the position behind which it wants the events, or null when it wants no more.

import { listen, parts } from "./events.js";

/** @type {Set<MessagePort>} tabs that want events */
const tabs = new Set();
/** @type {EventSource | null} */
let events = null;
/** Where the stream is. */
let position = "";

/** @param {string} after */
function follow(after) {
  events?.close();
  position = after;
  events = listen(after, (said) => {
    if (said.id) position = said.id;
    for (const tab of tabs) tab.postMessage(said);
  });
}

/**
 * @param {MessagePort} tab
 * @param {string | null} after
 */
function heard(tab, after) {
  if (after === null) {
    tabs.delete(tab);
    if (!tabs.size) {
      events?.close();
      events = null;
    }
    return;
  }
  tabs.add(tab);
  // What it hears from here on follows what it has asked for.
  tab.postMessage(null);
  if (events?.readyState === EventSource.OPEN && after === position) {
    tab.postMessage({ name: "open", id: "", data: "", isClosed: false });
    return;
  }
  const [epoch, sequence] = parts(after);
  const [known, reached] = parts(position);
  // It begins anew at the older place, and each tab passes over what it knows. A tab that is further than the stream has read
  // by itself what the stream did not bring: that stream is dead.
  follow(events && epoch === known && reached < sequence ? position : after);
}

addEventListener("connect", (event) => {
  const [tab] = /** @type {MessageEvent} */ (event).ports;
  if (!tab) return;
  tab.addEventListener("message", (message) => heard(tab, message.data));
  tab.start();
});
