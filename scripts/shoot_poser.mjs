// Pictures of the hand poser for the documentation, from the page of a running ComfyUI whose input folder has hands.png.
//
//   node scripts/shoot_poser.mjs http://127.0.0.1:8188 folder
//
// Needs playwright-core and a Chromium (CHROMIUM, default /usr/bin/chromium). Writes poser.jpg (posing over a photo, the
// hands taken from it) and poser_poses.jpg (the list of poses, newer renderer, light theme).
import { createRequire } from "node:module";

const require = createRequire(process.env.NODE_MODULES_OF ?? import.meta.url);
const { chromium } = require("playwright-core");
const [address, folder] = process.argv.slice(2);
const WAIT = 300000; // milliseconds, for a busy machine

async function set(name, value) {
  await fetch(`${address}/api/settings/${name}`, { method: "POST", body: JSON.stringify(value) });
}

async function openPage(browser, newer, light) {
  await set("Comfy.TutorialCompleted", true); // no dialog over the canvas
  await set("Comfy.Minimap.Visible", false);
  await set("Comfy.Graph.CanvasInfo", false);
  await set("Comfy.Workflow.Persist", false);
  await set("Comfy.VueNodes.Enabled", newer);
  await set("Comfy.ColorPalette", light ? "light" : "dark");
  const page = await browser.newPage({ viewport: { width: 1500, height: 1000 } });
  page.setDefaultTimeout(WAIT);
  page.setDefaultNavigationTimeout(WAIT);
  await page.goto(address);
  await page.waitForFunction(
    () => window.app?.graph && Object.keys(LiteGraph.registered_node_types).length > 100, undefined, { timeout: WAIT });
  await page.waitForTimeout(1500);
  await page.evaluate(async () => {
    app.graph.clear();
    const add = (kind, pos, size) => {
      const node = LiteGraph.createNode(kind);
      node.pos = pos;
      app.graph.add(node);
      if (size) node.setSize(size);
      return node;
    };
    const [load, estimate] = [add("LoadImage", [100, 130], [300, 330]), add("HanDrawerEstimateHands", [100, 540])];
    const [poser, seen] = [add("HanDrawerPoser", [460, 130], [560, 800]), add("PreviewImage", [1080, 130], [330, 330])];
    const into = (name) => poser.inputs.findIndex((input) => input.name === name);
    load.widgets.find((widget) => widget.name === "image").value = "hands.png";
    load.widgets.find((widget) => widget.name === "image").callback?.("hands.png");
    load.connect(0, estimate, 0);
    load.connect(0, poser, into("image"));
    estimate.connect(0, poser, into("hands"));
    poser.connect(1, seen, 0);
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset[0] = app.canvas.ds.offset[1] = 0;
    [window.P, window.N] = [poser.handrawerPoser.poser, poser];
    await P.ready;
  });
  await page.waitForFunction(() => P.stage.background, undefined, { timeout: WAIT });
  return page;
}

const run = (page) => page.evaluate((wait) => new Promise((resolve, reject) => {
  app.api.addEventListener("execution_success", () => setTimeout(resolve, 2000), { once: true });
  app.api.addEventListener("execution_error", (event) => reject(new Error(event.detail.exception_message)), { once: true });
  app.queuePrompt(0, 1);
  setTimeout(() => reject(new Error("time out")), wait);
}), WAIT);

const keep = (page, name, clip) => page.screenshot({ path: `${folder}/${name}.jpg`, type: "jpeg", quality: 80, clip });

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: ["--no-sandbox"],
});
try {
  const dark = await openPage(browser, false, false);
  await run(dark);
  await dark.evaluate(() => { // another gesture than the photo's, on the larger hand
    P.edit((hand) => { hand.angles = hand.angles.map((angle, i) => ([9, 11, 12].includes(i) ? angle * 0.1 : angle)); });
    P.joint = { finger: 2, joint: 3 };
    P.refresh();
  });
  await run(dark);
  await keep(dark, "poser", { x: 70, y: 80, width: 1370, height: 880 });
  await dark.close();
  const light = await openPage(browser, true, true);
  await light.evaluate(() => P.gallery.open());
  await light.waitForTimeout(4000);
  await keep(light, "poser_poses", { x: 430, y: 80, width: 640, height: 880 });
} finally {
  await browser.close();
}
