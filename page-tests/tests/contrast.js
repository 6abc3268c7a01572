// Contrast of texts, computed from what the browser shows.

/** @import { Page } from "playwright-core" */

/**
 * Texts on the screen whose contrast is below WCAG 2.2 AA (success criterion 1.4.3).
 * @param {Page} page
 * @param {boolean} [isLost] with the colours of a connection that is lost. The page would be live again with its next frame: all of it is one step.
 * @returns {Promise<{ texts: number, low: string[] }>}
 */
export function contrasts(page, isLost = false) {
  return page.evaluate((isLost) => {
    document.documentElement.toggleAttribute("data-lost", isLost);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 1;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("no canvas");
    /** @type {Map<string, number[]>} */
    const known = new Map();
    /** Any colour of CSS as red, green, blue (0 to 255) and alpha (0 to 1). @param {string} colour */
    const parse = (colour) => {
      let parsed = known.get(colour);
      if (!parsed) {
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        const [r = 0, g = 0, b = 0, a = 0] = context.getImageData(0, 0, 1, 1).data;
        known.set(colour, (parsed = [r, g, b, a / 255]));
      }
      return parsed;
    };
    /** @param {number[]} above @param {number[]} below */
    const over = ([r = 0, g = 0, b = 0, a = 0], [br = 0, bg = 0, bb = 0]) => [r * a + br * (1 - a), g * a + bg * (1 - a), b * a + bb * (1 - a)];
    /** @param {number[]} rgb */
    const luminance = (rgb) => {
      const [r = 0, g = 0, b = 0] = rgb.map((value) => {
        const share = value / 255;
        return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    /** @param {Element} element @returns {number[]} */
    const ground = (element) => {
      const colour = parse(getComputedStyle(element).backgroundColor);
      if (colour[3] === 1) return colour;
      const below = element.parentElement ? ground(element.parentElement) : [255, 255, 255];
      return over(colour, below);
    };
    const low = [];
    let texts = 0;
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const text = walker.currentNode.textContent?.trim();
      const element = walker.currentNode.parentElement;
      if (!text || !element?.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
      const box = element.getBoundingClientRect();
      if (!box.width || !box.height || box.bottom < 0 || box.top > innerHeight || box.right < 0) continue;
      texts += 1;
      const style = getComputedStyle(element);
      const below = ground(element);
      const [a, b] = [luminance(over(parse(style.color), below)), luminance(below)];
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      const size = parseFloat(style.fontSize);
      const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
      if (ratio < needed) low.push(`${ratio.toFixed(2)}: ${style.color} on ${below.map(Math.round)}: ${text.slice(0, 60)}`);
    }
    if (document.documentElement.hasAttribute("data-lost") !== isLost) throw new Error("the page has changed meanwhile");
    document.documentElement.removeAttribute("data-lost");
    return { texts, low };
  }, isLost);
}
