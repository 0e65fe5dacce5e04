// Pictures of every node, wired to what goes before and after it, for the help pages: web/docs/images/NODE.png.
//
//   NODE_MODULES_OF=FOLDER/x.js node scripts/shoot_nodes.mjs http://127.0.0.1:8188 FOLDER [NODE ...]
//
// Asks a running ComfyUI with this project in it. Needs playwright-core and a Chromium (CHROMIUM, default
// /usr/bin/chromium). The pictures are made smaller by hand: 8 bit WebP, at most 40 KB each.
import { createRequire } from "node:module";

const require = createRequire(process.env.NODE_MODULES_OF ?? import.meta.url);
const { chromium } = require("playwright-core");
const [address, folder, ...only] = process.argv.slice(2);

// Which node usually gives a type, and which one takes it.
const SOURCES = {
  IMAGE: "LoadImage", HANDS: "HanDrawerEstimateHands", MASK: "HanDrawerHandMask", MODEL: "HanDrawerLoadMini",
  CLIP: "HanDrawerLoadMini", VAE: "HanDrawerLoadMini", HANDRAWER: "HanDrawerLoadMini", CONDITIONING: "CLIPTextEncode",
  HANDRAWER_FEATURES: "HanDrawerEncodeHands", LATENT: "LatentFromBatch", POSE_KEYPOINT: "HanDrawerPoseFromHands",
  HANDRAWER_TRANSFORM: "HanDrawerTransformHands", HANDRAWER_STITCH: "HanDrawerCropHands",
  HANDRAWER_HAND_MODEL: "HanDrawerLoadHandModel", SEGS: "HanDrawerSegsFromHands",
};
const TAKERS = {
  HANDS: "HanDrawerRenderHands", IMAGE: "PreviewImage", MASK: "MaskPreview", MODEL: "KSampler", CONDITIONING: "KSampler",
  LATENT: "VAEDecode", VAE: "VAEDecode", CLIP: "CLIPTextEncode", HANDRAWER: "HanDrawerEncodeHands",
  HANDRAWER_FEATURES: "HanDrawerApply", HANDRAWER_STITCH: "HanDrawerStitchHands", STRING: "PreviewAny",
  HANDRAWER_TRANSFORM: "HanDrawerPasteHandsBack", HANDRAWER_HAND_MODEL: "HanDrawerConvertHands", MESH: "SaveGLB",
  POSE_KEYPOINT: "HanDrawerHandsFromPose", SEGS: "HanDrawerApplySegs",
};
// What gives an input where it is not the usual one.
const INSTEAD = {
  "HanDrawerStitchHands.crops": "VAEDecode", "HanDrawerPasteHandsBack.image": "VAEDecode",
  "HanDrawerSaveImage.images": "VAEDecode", "HanDrawerPickBest.image": "VAEDecode",
  "HanDrawerPickBest.latent": "KSampler", "HanDrawerEncodeHands.hands": "HanDrawerPlaceHands",
};

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: ["--no-sandbox"],
});
const page = await browser.newPage({ viewport: { width: 1500, height: 1300 } });
page.setDefaultTimeout(200000);
const set = (name, value) =>
  fetch(`${address}/api/settings/${name}`, { method: "POST", body: JSON.stringify(value) });
await set("Comfy.TutorialCompleted", true);
await set("Comfy.Workflow.Persist", false);
await set("Comfy.Minimap.Visible", false);
await set("Comfy.Graph.CanvasInfo", false);
await set("Comfy.Graph.CanvasMenu", false);
await set("Comfy.NodeBadge.NodeSourceBadgeMode", "None");
await page.goto(address);
await page.waitForFunction(() => window.app?.graph && Object.keys(LiteGraph.registered_node_types).length > 100);
await page.waitForTimeout(3000);

const names = await page.evaluate(() => Object.keys(LiteGraph.registered_node_types).filter((n) => n.startsWith("HanDrawer")));
for (const name of names) {
  if (only.length && !only.includes(name)) continue;
  const box = await page.evaluate(({ name, SOURCES, TAKERS, INSTEAD }) => {
    app.graph.clear();
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [0, 0];
    const node = LiteGraph.createNode(name);
    app.graph.add(node);
    node.pos = [390, 150];
    const widest = 380;
    node.setSize([Math.min(Math.max(node.size[0], 260), widest), node.size[1]]);
    const add = (kind, x, y) => {
      const other = LiteGraph.createNode(kind);
      app.graph.add(other);
      other.pos = [x, y];
      other.collapse?.();
      return other;
    };
    const sources = {}, takers = {};
    let left = 0, right = 0;
    const step = 42;
    for (const [slot, input] of node.inputs.entries()) {
      if (input.widget) continue;
      const type = String(input.type).split(",")[0];
      const kind = INSTEAD[`${name}.${input.name}`] ?? SOURCES[type];
      if (!kind || kind === name) continue;
      const own = type === "CONDITIONING" ? `${kind}${slot}` : kind;
      sources[own] ??= add(kind, 90, 165 + step * left++);
      sources[own].connect(sources[own].outputs.findIndex((o) => o.type === type), node, slot);
    }
    for (const [slot, output] of node.outputs.entries()) {
      const type = String(output.type);
      const kind = TAKERS[type];
      if (!kind || kind === name || (type === "STRING" && node.outputs.length > 2)) continue;
      const own = ["IMAGE", "MASK"].includes(type) ? `${kind}${slot}` : kind;
      takers[own] ??= add(kind, node.pos[0] + node.size[0] + 80, 165 + step * right++);
      const taker = takers[own];
      const place = taker.inputs.findIndex((i) => (i.type === type || i.type === "*") && i.link == null);
      if (place >= 0) node.connect(slot, taker, place);
    }
    app.canvas.deselectAll?.();
    app.canvas.setDirty(true, true);
    const height = Math.max(node.size[1], step * Math.max(left, right)) + 60;
    const x = left ? 75 : 370;
    return { x, y: 105, width: (right ? node.pos[0] + node.size[0] + 290 : node.pos[0] + node.size[0] + 20) - x, height };
  }, { name, SOURCES, TAKERS, INSTEAD });
  await page.waitForTimeout(name.includes("Pose") ? 3000 : 500);
  // A node may have grown since, around a picture that it shows.
  box.height = Math.max(box.height, await page.evaluate(() => app.graph._nodes[0].size[1] + 60));
  await page.screenshot({ path: `${folder}/${name}.png`, clip: { ...box, height: Math.min(box.height, 1190) } });
  console.log(name, Math.round(box.width), Math.round(box.height));
}
await browser.close();
