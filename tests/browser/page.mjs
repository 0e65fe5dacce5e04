// Opens ComfyUI's page in a headless Chromium and does what a person would. Run by conftest.py:
//   node page.mjs < {"address", "browser", "playwright", "workflows": {name: graph}, "broken", "states", "pose", "shots"}
// and prints one JSON object with what each scene saw; a scene that fails says so in {"error"}.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

import * as canvas from "./scenes_canvas.mjs";
import * as library from "./scenes_library.mjs";
import * as poser from "./scenes.mjs";

// In this order; those of the newer renderer last, since the page is loaded anew for them. The older one is dark and the
// newer one light; the two other pairs are chosen while the page is open.
const OLDER = {
  silhouettes: poser.silhouettes, mouse: poser.mouse, keys: poser.keys, touch: poser.touch, reload: poser.reload,
  unreadable: poser.unreadable, olderLight: poser.olderLight, workflows: canvas.workflows, library: library.library, help: canvas.help,
};
const NEWER = {
  newRenderer: poser.newRenderer, newerDark: poser.newerDark, workflowsNewer: canvas.workflowsNewer, libraryNewer: library.library,
};

const given = JSON.parse(readFileSync(0, "utf8"));
const require = createRequire(path.join(given.playwright, "noname.js"));
const { chromium } = require("playwright-core");

async function set(name, value) {
  const answer = await fetch(`${given.address}/api/settings/${name}`, { method: "POST", body: JSON.stringify(value) });
  if (!answer.ok) throw new Error(`setting ${name}: ${answer.status}`);
}

/**
 * What the page complains of since it was last asked; the host's own 404s for files that a user may have are none, nor
 * is its asking for docs/NODE/en.md before docs/NODE.md.
 */
function listenTo(page) {
  const heard = [];
  page.on("pageerror", (error) => heard.push(String(error.stack ?? error)));
  page.on("console", (message) => {
    const from = message.location()?.url ?? "";
    if (message.type() === "error" && !/Failed to load resource/.test(message.text())) heard.push(`${message.text()} (${from})`);
    if (message.type() === "error" && /Failed to load resource/.test(message.text()) && /handrawer/i.test(from)
      && !/\/docs\/\w+\/en\.md$/.test(from)) heard.push(`missing: ${from}`);
  });
  return { heard, take: () => heard.splice(0) };
}

export async function openPage(page) {
  await page.goto(given.address);
  await page.waitForFunction(
    () => window.app?.graph && Object.keys(LiteGraph.registered_node_types).length > 100, undefined, { timeout: 300000 });
  await page.waitForTimeout(1000);
}

const browser = await chromium.launch({ executablePath: given.browser, headless: true, args: ["--no-sandbox"] });
const seen = {};
try {
  const context = await browser.newContext({ viewport: { width: 1500, height: 1150 }, hasTouch: true });
  const page = await context.newPage();
  page.setDefaultTimeout(given.patience ?? 120000); // a busy machine
  page.setDefaultNavigationTimeout(300000);
  const complaints = listenTo(page);
  await set("Comfy.TutorialCompleted", true);
  await set("Comfy.Workflow.Persist", false);
  await set("Comfy.Minimap.Visible", false);
  await set("Comfy.VueNodes.Enabled", false);
  await set("Comfy.ColorPalette", "dark");
  await openPage(page);
  for (const [name, scene] of Object.entries({ ...OLDER, ...NEWER })) {
    if (name === Object.keys(NEWER)[0]) {
      await set("Comfy.VueNodes.Enabled", true);
      await set("Comfy.ColorPalette", "light");
      await openPage(page);
    }
    if (given.only && !given.only.includes(name)) continue;
    const began = Date.now();
    complaints.take();
    try {
      seen[name] = await scene(page, { ...given, name }, { open: () => openPage(page), complaints });
    } catch (error) {
      seen[name] = { error: String(error.stack ?? error) };
    }
    seen[name].complaints = complaints.take();
    seen[name].seconds = (Date.now() - began) / 1000;
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
