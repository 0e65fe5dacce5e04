// What a person does with the pose library: search, choose, bring in and send on a file, keep a pose of the poser.
import { readFileSync } from "node:fs";

import { freshPoser } from "./scenes.mjs";

/** A library alone on the canvas, as `window.L` (the widget) and `window.N` (its node). */
async function freshLibrary(page) {
  await page.evaluate(async () => {
    app.graph.clear();
    app.graph.last_node_id = window.lastNode = (window.lastNode ?? 500) + 1;
    const node = LiteGraph.createNode("HanDrawerPoseLibrary");
    node.pos = [520, 120];
    app.graph.add(node);
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset[0] = app.canvas.ds.offset[1] = 0;
    app.canvas.setDirty(true, true);
    [window.L, window.N] = [node.handrawerLibrary, node];
    await L.ready;
  });
  await page.locator(".handrawer-library").waitFor();
}

const state = (page) => page.evaluate(async () => ({
  pose: L.pose.value,
  search: L.search.value,
  field: L.element.closest(".lg-node")?.querySelector(".lg-node-widgets input")?.value, // of the newer renderer
  options: L.pose.options.values.length,
  background: L.picture.style.backgroundImage,
  at: L.picture.style.backgroundPosition,
  visible: !L.picture.hidden && L.picture.getBoundingClientRect().width > 40,
  prompt: (await app.graphToPrompt()).output,
}));

/** Put the page into another language: the host asks for its nodes' names anew, then loads its graph again. */
const speak = (page, language) => page.evaluate(async (to) => {
  if (app.ui.settings.getSettingValue("Comfy.Locale") === to) return;
  const load = app.loadGraphData;
  const loaded = new Promise((resolve) => {
    app.loadGraphData = function (...values) {
      app.loadGraphData = load;
      return load.apply(this, values).finally(resolve);
    };
  });
  await app.ui.settings.setSettingValueAsync("Comfy.Locale", to);
  await loaded;
}, language);

/** The chooser where the page is in another language: a pose is found by what it is called there, and chosen. */
async function inLanguage(page, language, words, shot) {
  await speak(page, language);
  await freshLibrary(page);
  const button = page.locator(".handrawer-library button:not(.handrawer-pose)").first();
  const said = { button: await button.innerText(), start: await page.evaluate(() => L.picture.title) };
  await button.click();
  const panel = page.locator("dialog.handrawer-chooser");
  await panel.waitFor();
  said.search = await panel.locator("input[type='search']").getAttribute("placeholder");
  said.titles = await panel.locator(".handrawer-grid button").evaluateAll((cells) => cells.map((cell) => cell.innerText));
  await page.waitForTimeout(300);
  if (shot) await page.screenshot({ path: shot });
  await panel.locator("input[type='search']").fill(words);
  said.found = await panel.locator(".handrawer-grid button:visible").allInnerTexts();
  await panel.locator(".handrawer-grid button:visible").first().click();
  await panel.waitFor({ state: "detached" });
  said.chosen = await state(page);
  return said;
}

export async function library(page, { pose, name, shots }) {
  await freshLibrary(page);
  const steps = { start: await state(page) };
  steps.boxes = await page.evaluate(() => [L.element, ...L.element.querySelectorAll("button")].map((element) => {
    const { width, height } = element.getBoundingClientRect();
    return [width, height];
  }));

  await page.evaluate(() => { // as the host's own field does when something is typed
    L.search.value = "count, chinese";
    L.search.callback?.(L.search.value);
  });
  steps.searched = await state(page);

  await page.locator(".handrawer-library button:not(.handrawer-pose)").first().click();
  const panel = page.locator("dialog.handrawer-chooser");
  await panel.waitFor();
  const visible = () => panel.locator(".handrawer-grid button:visible").count();
  const field = panel.locator("input[type='search']");
  steps.narrowed = { words: await field.inputValue(), count: await visible() };
  await field.fill("zebra");
  steps.nothing = { count: await visible(), said: await panel.locator(".handrawer-said").textContent() };
  await field.fill("");
  steps.all = await visible();
  await page.waitForTimeout(300);
  if (shots) await page.screenshot({ path: `${shots}/${name}_chooser.png` });
  await field.fill("vulcan");
  await panel.locator(".handrawer-grid button:visible").first().click();
  await panel.waitFor({ state: "detached" });
  steps.chosen = await state(page);

  const bring = async (name_, text) => {
    const asked = page.waitForEvent("filechooser");
    await page.locator(".handrawer-library button:not(.handrawer-pose)").nth(1).click();
    await (await asked).setFiles({ name: name_, mimeType: "application/json", buffer: Buffer.from(text) });
  };
  await bring("brought.json", pose);
  await page.waitForFunction(() => / \(mine\)$/.test(L.pose.value));
  steps.brought = await state(page);
  steps.ownPicture = await page.evaluate(async () => {
    const answer = await fetch(L.picture.style.backgroundImage.slice(5, -2));
    return [answer.status, answer.headers.get("content-type")];
  });
  await bring("wrong.json", "{}");
  await page.locator(".p-toast", { hasText: "wrong.json" }).waitFor();
  steps.refused = await page.locator(".p-toast").first().innerText();
  steps.after = await state(page);

  const download = page.waitForEvent("download");
  await page.locator(".handrawer-library button:not(.handrawer-pose)").nth(2).click();
  const file = await download;
  steps.sent = { name: file.suggestedFilename(), text: readFileSync(await file.path(), "utf8") };

  await page.evaluate(() => { L.side.value = "left"; L.side.callback?.("left"); });
  steps.mirrored = await page.evaluate(() => L.picture.style.transform);
  if (shots) await page.screenshot({ path: `${shots}/${name}.png` });
  const graph = await page.evaluate(() => app.graph.serialize());
  steps.saved = graph.nodes[0].widgets_values;
  await page.evaluate(async (saved) => {
    await app.loadGraphData(saved);
    [window.N] = app.graph._nodes;
    window.L = N.handrawerLibrary;
    await L.ready;
  }, graph);
  steps.reloaded = await state(page);

  const [language, words, poses, peace] = name === "libraryNewer" ? ["zh", "瓦肯", "姿势", "比耶"] : ["ja", "挨拶、ばるかん", "ポーズ", "ぴーす"];
  try {
    steps.said = { language, ...(await inLanguage(page, language, words, shots && `${shots}/${name}_${language}.png`)) };
    await freshPoser(page, [560, 800]);
    await page.locator(`.hp-bar button[aria-label='${poses}']`).click();
    await page.waitForSelector(".hp-grid button");
    await page.locator(".hp-poses input[type='search']").fill(peace);
    steps.said.inPoser = await page.locator(".hp-grid button:visible").allInnerTexts();
  } finally {
    await speak(page, "en");
  }

  await freshPoser(page, [560, 800]);
  await page.locator(".hp-bar button[aria-label='Poses']").click();
  await page.waitForSelector(".hp-grid button");
  await page.locator(".hp-poses button[title^='Keep']").click();
  const line = page.locator(".hp-poses input[type='text']");
  await line.fill("../x");
  await line.press("Enter");
  await page.waitForFunction(() => document.querySelector(".hp-poses [role='status']").textContent);
  steps.wrongName = await page.locator(".hp-poses [role='status']").textContent();
  await line.fill("kept_by_hand");
  await line.press("Enter");
  await page.waitForFunction(() => document.querySelector(".hp-poses [role='status']").textContent.includes("kept_by_hand"));
  steps.keptAs = await page.locator(".hp-poses [role='status']").textContent();
  if (shots) await page.screenshot({ path: `${shots}/${name}_keep.png` });
  steps.listed = await page.evaluate(async () => (await (await fetch("/handrawer/poses")).json()).filter((entry) => entry.place === null).map((entry) => entry.name));
  return steps;
}
