// Opens ComfyUI's page in a headless Chromium and does what a person would. Run by conftest.py:
//   node page.mjs < {"address", "browser", "playwright", "workflows": {name: graph}, "states": [...], "shots"}
// and prints one JSON object with what each scene saw; a scene that fails says so in {"error"}.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

import * as scenes from "./scenes.mjs";

const given = JSON.parse(readFileSync(0, "utf8"));
const require = createRequire(path.join(given.playwright, "noname.js"));
const { chromium } = require("playwright-core");

async function set(name, value) {
  const answer = await fetch(`${given.address}/api/settings/${name}`, { method: "POST", body: JSON.stringify(value) });
  if (!answer.ok) throw new Error(`setting ${name}: ${answer.status}`);
}

/** What the page complains of since it was last asked; the host's own 404s for files that a user may have are none. */
function listenTo(page) {
  const heard = [];
  page.on("pageerror", (error) => heard.push(String(error.stack ?? error)));
  page.on("console", (message) => {
    const from = message.location()?.url ?? "";
    if (message.type() === "error" && !/Failed to load resource/.test(message.text())) heard.push(`${message.text()} (${from})`);
    if (message.type() === "error" && /Failed to load resource/.test(message.text()) && /handrawer/i.test(from)) heard.push(`missing: ${from}`);
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
  page.setDefaultTimeout(300000); // a busy machine
  page.setDefaultNavigationTimeout(300000);
  const complaints = listenTo(page);
  await set("Comfy.TutorialCompleted", true);
  await set("Comfy.Workflow.Persist", false);
  await set("Comfy.Minimap.Visible", false);
  await set("Comfy.VueNodes.Enabled", false);
  await openPage(page);
  const order = Object.keys(scenes).filter((name) => name !== "newRenderer");
  for (const name of [...order, "newRenderer"]) {
    const scene = scenes[name];
    if (name === "newRenderer") {
      await set("Comfy.VueNodes.Enabled", true);
      await openPage(page);
    }
    const began = Date.now();
    complaints.take();
    try {
      seen[name] = await scene(page, given, { open: () => openPage(page), complaints });
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
