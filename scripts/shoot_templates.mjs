// A picture of our workflows as the template browser of a running ComfyUI lists them, for the documentation.
//
//   node scripts/shoot_templates.mjs http://127.0.0.1:8188 docs/images/templates.jpg
//
// Needs playwright-core and a Chromium (CHROMIUM, default /usr/bin/chromium). Fails if a workflow is not listed.
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(process.env.NODE_MODULES_OF ?? import.meta.url);
const { chromium } = require("playwright-core");
const [address, picture] = process.argv.slice(2);
const WAIT = 300000; // milliseconds, for a busy machine
const SIZE = { width: 2250, height: 2000 }; // large enough for all of them without scrolling
const SPACE = 12; // pixels around the cards
const names = readdirSync(new URL("../workflows", import.meta.url))
  .filter((name) => name.endsWith(".json")).map((name) => name.slice(0, -5));

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: ["--no-sandbox"],
});
try {
  for (const [name, value] of [["Comfy.TutorialCompleted", true], ["Comfy.ColorPalette", "dark"], ["Comfy.Locale", "en"]]) {
    await fetch(`${address}/api/settings/${name}`, { method: "POST", body: JSON.stringify(value) });
  }
  const page = await browser.newPage({ viewport: SIZE, deviceScaleFactor: 0.8 });
  page.setDefaultTimeout(WAIT);
  await page.goto(address, { timeout: WAIT });
  await page.waitForFunction(() => window.app?.graph && Object.keys(LiteGraph.registered_node_types).length > 100);
  await page.evaluate(() => app.extensionManager.command.execute("Comfy.BrowseTemplates"));
  await page.getByText("HanDrawer", { exact: true }).first().click();
  const cards = page.locator("[data-testid^='template-workflow-']");
  await page.waitForFunction((count) => document.querySelectorAll("[data-testid^='template-workflow-']").length === count, names.length);
  await page.waitForTimeout(3000); // the pictures
  const listed = await cards.evaluateAll((found) => found.map((card) => card.dataset.testid.slice("template-workflow-".length)));
  const missing = names.filter((name) => !listed.includes(name));
  if (missing.length) throw new Error(`not listed: ${missing.join(", ")}`);
  const boxes = await cards.evaluateAll((found) => found.map((card) => card.getBoundingClientRect().toJSON()));
  const [x, y] = ["left", "top"].map((side) => Math.min(...boxes.map((box) => box[side])) - SPACE);
  const [right, bottom] = ["right", "bottom"].map((side) => Math.max(...boxes.map((box) => box[side])) + SPACE);
  await page.screenshot({ path: picture, type: "jpeg", quality: 78, clip: { x, y, width: right - x, height: bottom - y } });
} finally {
  await browser.close();
}
