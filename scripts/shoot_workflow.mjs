// Loads a workflow file into the page of a running ComfyUI, checks it, runs it if asked, and takes a screenshot.
//
//   node scripts/shoot_workflow.mjs http://127.0.0.1:8188 "workflows/NAME.json" out.png [--run] [--crop] [--api out.json]
//
// Needs playwright-core and a Chromium (CHROMIUM, default /usr/bin/chromium). Fails if a node is unknown to the page.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(process.env.NODE_MODULES_OF ?? import.meta.url);
const { chromium } = require("playwright-core");
const [address, file, picture, ...options] = process.argv.slice(2);
const workflow = JSON.parse(readFileSync(file, "utf8"));

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: ["--no-sandbox"],
});
const page = await browser.newPage({ viewport: { width: 1920, height: 1200 } });
const complaints = [];
page.on("pageerror", (error) => complaints.push(String(error)));
const set = (name, value) =>
  fetch(`${address}/api/settings/${name}`, { method: "POST", body: JSON.stringify(value) });
await set("Comfy.TutorialCompleted", true); // no dialog over the canvas
await set("Comfy.Minimap.Visible", false);
await set("Comfy.Graph.CanvasInfo", false);
if (options.includes("--run")) { // nodes whose results the host still has would not show them on a new page
  await fetch(`${address}/free`, { method: "POST", body: JSON.stringify({ free_memory: true }) });
}
await page.goto(address);
await page.waitForFunction(
  () => window.app?.graph && Object.keys(LiteGraph.registered_node_types).length > 100, undefined, { timeout: 90000 });
await page.waitForTimeout(2000);

const found = await page.evaluate(async (ui) => {
  await app.loadGraphData(ui);
  const missing = app.graph._nodes.filter((n) => !LiteGraph.registered_node_types[n.type]).map((n) => n.type);
  const prompt = await app.graphToPrompt();
  return { missing, api: prompt.output };
}, workflow);
if (found.missing.length) throw new Error(`unknown nodes: ${found.missing.join(", ")}`);
const api = options.indexOf("--api");
if (api >= 0) writeFileSync(options[api + 1], JSON.stringify(found.api, null, 1));

if (options.includes("--run")) {
  const end = await page.evaluate(() => new Promise((resolve) => {
    app.api.addEventListener("execution_success", () => resolve("success"), { once: true });
    app.api.addEventListener("execution_error", (e) => resolve(e.detail.exception_message), { once: true });
    app.queuePrompt(0, 1);
    setTimeout(() => resolve("time out"), 240000);
  }));
  if (end !== "success") throw new Error(end);
  await page.waitForTimeout(3000);
}

// Everything on the canvas, with a little room around it.
const clip = await page.evaluate(() => {
  const boxes = [...app.graph._nodes.map((n) => n.getBounding()), ...app.graph._groups.map((g) => g._bounding)];
  const low = [Math.min(...boxes.map((b) => b[0])), Math.min(...boxes.map((b) => b[1]))];
  const high = [Math.max(...boxes.map((b) => b[0] + b[2])), Math.max(...boxes.map((b) => b[1] + b[3]))];
  const view = app.canvas.canvas.getBoundingClientRect();
  const room = { left: 75, right: 20, top: 110, bottom: 20 }; // what the page lays over the canvas
  const scale = Math.min((view.width - room.left - room.right) / (high[0] - low[0]),
    (view.height - room.top - room.bottom) / (high[1] - low[1]));
  app.canvas.ds.scale = scale;
  app.canvas.ds.offset[0] = room.left / scale - low[0];
  app.canvas.ds.offset[1] = room.top / scale - low[1];
  app.canvas.setDirty(true, true);
  return {
    x: view.x + room.left - 8, y: view.y + room.top - 8,
    width: (high[0] - low[0]) * scale + 16, height: (high[1] - low[1]) * scale + 16,
  };
});
await page.waitForTimeout(1500);
await page.screenshot(options.includes("--crop") ? { path: picture, clip } : { path: picture });
await browser.close();
if (complaints.length) console.log(`the page complained: ${complaints.slice(0, 3).join(" | ")}`);
console.log("ok");
