// Checks of every kind of state, for tests and screenshots.

import net from "node:net";
import { Backend, closedPort, endingSoon, Server } from "./rig.js";

/** What a backend would say to take the page over. */
export const HOSTILE = `<script>window.taken = "script"</script><img src=x onerror="window.taken='img'">`;
/** A name that would. Names have no blanks. */
export const HOSTILE_NAME = `<img/src=x/onerror=window.taken='name'>`;

/** Names as a shop has them, by group. @type {[string, string[]][]} */
const GROUPS = [
  ["frontend", ["www-1", "www-2", "www-3", "www-4", "www-5", "www-6"]],
  ["checkout", ["cart-1", "cart-2", "cart-3", "pay-1", "pay-2"]],
  ["search", ["search-1", "search-2", "search-3", "index-1", "index-2"]],
  ["storage", ["img-1", "img-2", "img-3", "files-1", "files-2", "files-3"]],
];

export class Scene {
  /** @type {Map<string, Backend>} */
  backends = new Map();
  /** What ends with it. @type {(() => void)[]} */
  held = [];
  /** @type {Server} */
  // Set by `start`.
  server = /** @type {any} */ (undefined);

  static async start() {
    const scene = new Scene();
    let text = `[defaults]\ninterval = "1s"\ntimeout = "5s"\nretries = 1\n`;
    /**
     * @param {string} group
     * @param {string} name
     */
    const add = async (group, name) => {
      const backend = await Backend.start();
      scene.backends.set(name, backend);
      text += `\n[[check]]\nname = ${JSON.stringify(name)}\ntarget = "${backend.address}"\nlabels = { group = ${JSON.stringify(group)}, site = "ams" }\nhttp = { path = "/healthz", expected_codes = [200] }\n`;
    };
    for (const [group, names] of GROUPS) for (const name of names) await add(group, name);
    await add("foreign <b>group</b>", HOSTILE_NAME);
    const dead = await closedPort();
    const tls = await endingSoon();
    scene.held.push(dead.release, tls.stop);
    text += `\n[[check]]\nname = "tls-1"\ntarget = "127.0.0.1:${tls.port}"\nlabels = { group = "network" }\nhttp = { path = "/", tls = { verify = false, warn_days_left = 14 } }\n`;
    text += `\n[[check]]\nname = "dead-1"\ntarget = "127.0.0.1:${dead.port}"\nlabels = { group = "storage" }\ntcp = {}\n`;
    text += `\n[[check]]\nname = "resolver-1"\ntarget = "nosuch.invalid"\nresolve = "any"\nport = 80\nlabels = { group = "network" }\ntcp = {}\n`;
    const hostile = scene.backend(HOSTILE_NAME);
    hostile.status = 500;
    hostile.body = HOSTILE;
    scene.backend("pay-2").status = 503;
    scene.backend("pay-2").body = "the database is away\n";
    scene.server = await Server.start(text);
    return scene;
  }

  /** @param {string} name */
  backend(name) {
    const backend = this.backends.get(name);
    if (!backend) throw new Error(`no backend ${name}`);
    return backend;
  }

  async stop() {
    await this.server.stop();
    this.backends.forEach((backend) => backend.stop());
    this.held.forEach((release) => release());
  }
}

/** Checks of `many`: each of its groups is a /20, without network and broadcast address. */
export const MANY = 25 * 4094;

/**
 * A file of a hundred thousand checks. The first group is up and the second down; the others are not probed while a test lasts, so
 * that what is measured is the page and not the probes of a build without optimization.
 */
export async function many() {
  const accepts = net.createServer((socket) => socket.destroy());
  await new Promise((resolve) => accepts.listen(0, "0.0.0.0", () => resolve(null)));
  const { port } = /** @type {net.AddressInfo} */ (accepts.address());
  const closed = await closedPort();
  let text = `[defaults]\ninterval = "10m"\ntimeout = "5s"\n`;
  for (let group = 1; group <= 25; group += 1) {
    const begins = group > 2 ? `start_delay = "10m"\n` : "";
    text += `\n[[check]]\nname = "pool-${group}"\ntarget = "127.${group}.0.0/20"\nport = ${group === 2 ? closed.port : port}\n${begins}labels = { group = "service-${group}" }\ntcp = {}\n`;
  }
  const stop = () => {
    accepts.close();
    closed.release();
  };
  return { text, stop };
}
