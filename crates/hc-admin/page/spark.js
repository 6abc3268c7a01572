// Small lines of how long probes took.

import { setAttribute, svg } from "./dom.js";
import { latency } from "./words.js";

/**
 * A drawing for `draw`.
 * @param {number} width
 * @param {number} height
 */
export function spark(width, height) {
  const line = svg("polyline", { class: "spark-line" });
  const last = svg("circle", { class: "spark-last", r: 1.8 });
  return svg(
    "svg",
    { class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, preserveAspectRatio: "none", "aria-hidden": "true" },
    line,
    last,
  );
}

/**
 * @param {SVGSVGElement} drawing
 * @param {number[]} samples oldest first
 * @param {number} least the scale begins at 0 and ends at the largest sample, or here
 */
export function draw(drawing, samples, least = 0) {
  const [, , width = 0, height = 0] = (drawing.getAttribute("viewBox") ?? "").split(" ").map(Number);
  const [line, last] = drawing.children;
  if (!line || !last) return;
  drawing.classList.toggle("empty", samples.length === 0);
  const top = Math.max(least, ...samples) || 1;
  const step = samples.length > 1 ? (width - 4) / (samples.length - 1) : 0;
  /** @param {number} index */
  const x = (index) => (samples.length > 1 ? 2 + index * step : width - 2);
  /** @param {number} sample */
  const y = (sample) => height - 2 - (sample / top) * (height - 4);
  setAttribute(line, "points", samples.map((sample, index) => `${x(index).toFixed(1)},${y(sample).toFixed(1)}`).join(" "));
  setAttribute(last, "cx", x(samples.length - 1).toFixed(1));
  setAttribute(last, "cy", y(samples.at(-1) ?? 0).toFixed(1));
}

/**
 * What a reader that sees no drawing gets.
 * @param {number[]} samples microseconds
 */
export function inWords(samples) {
  if (!samples.length) return "no probe seen yet";
  return `${latency(Math.min(...samples))} to ${latency(Math.max(...samples))} in ${samples.length} probes seen here`;
}
