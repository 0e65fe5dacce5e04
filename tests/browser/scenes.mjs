// What is done on the page, scene by scene; each gives what it saw. The names are the tests' keys.

/** A poser alone on the canvas, as `window.P` (the widget) and `window.N` (its node). */
export async function freshPoser(page, size = [1000, 1040]) {
  await page.evaluate(async ([width, height]) => {
    app.graph.clear();
    // A number of its own: the page remembers what nodes of other scenes showed by theirs.
    app.graph.last_node_id = window.lastNode = (window.lastNode ?? 100) + 1;
    const node = LiteGraph.createNode("HanDrawerPoser");
    node.pos = [90, 60];
    app.graph.add(node);
    node.setSize([width, height]);
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset[0] = app.canvas.ds.offset[1] = 0;
    app.canvas.setDirty(true, true);
    [window.P, window.N] = [node.handrawerPoser.poser, node];
    await window.P.ready;
  }, size);
  await page.waitForFunction(([width, height]) => { // the host has laid the widget out, at its size
    const { canvas } = P.stage;
    return canvas.clientWidth > 0.5 * width && canvas.clientHeight > 0.4 * height
      && Math.abs(canvas.width / canvas.clientWidth - P.stage.density()) < 0.05;
  }, size, { timeout: 90000 });
  await settled(page);
}

/** Wait until the stage has drawn what there is to draw, and nothing waits to be kept. */
const settled = (page) => page.evaluate(async () => {
  const frame = () => new Promise((resolve) => { requestAnimationFrame(resolve); });
  await frame();
  while (P.stage.waiting || P.stage.drawing) await frame();
  await frame();
});

/** Do something, and wait until the value is another one. */
async function changing(page, run) {
  const before = await page.evaluate(() => P.value);
  await run();
  await page.waitForFunction((text) => P.value !== text && !P.stage.waiting, before, { timeout: 90000 });
}

/** A point of the picture, in pixels, to the screen. */
const onScreen = (page, point) => page.evaluate(([x, y]) => {
  const shown = P.stage.canvas.getBoundingClientRect();
  const rect = P.stage.rect();
  const per = shown.width / P.stage.canvas.width;
  return [shown.left + per * (rect.x + rect.factor * x), shown.top + per * (rect.y + rect.factor * y)];
}, point);

const dot = async (page, finger, joint = 3) => onScreen(page, await page.evaluate(
  ([f, j]) => P.stage.dots().find((d) => d.finger === f && d.joint === j).at, [finger, joint]));
const middle = async (page) => onScreen(page, await page.evaluate(() => [P.stage.ring().x, P.stage.ring().y]));
const value = (page) => page.evaluate(() => P.value);
const hand = (page, i = 0) => page.evaluate((place) => JSON.parse(P.value).hands[place], i);

async function drag(page, from, to, options = {}) {
  await page.mouse.move(...from);
  await page.mouse.down(options);
  await page.mouse.move(...to, { steps: 12 });
  await changing(page, () => page.mouse.up(options));
}

/** The picture's part of the stage as it is shown, in the picture's size: the hands white on black. */
async function shownHands(page) {
  await page.evaluate(() => {
    P.settings.look = "mask";
    P.selected = -1; // no dots over the hands
    P.refresh();
  });
  await settled(page);
  return page.evaluate(() => {
    const [width, height] = P.size;
    const rect = P.stage.rect();
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [width, height];
    const context = copy.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(P.stage.canvas, rect.x, rect.y, rect.width, rect.height, 0, 0, width, height);
    P.settings.look = "shaded";
    P.selected = 0;
    P.refresh();
    return { picture: copy.toDataURL("image/png"), factor: rect.factor };
  });
}

/** The page's prompt for what is on its canvas. */
const prompt = (page) => page.evaluate(async () => (await app.graphToPrompt()).output);

/** Hands given as the node's value, shown, and sent to the server as the page would. */
export async function silhouettes(page, { states }) {
  const found = [];
  for (const { text, width, height } of states) {
    await freshPoser(page);
    await page.evaluate(([state, w, h]) => {
      const [wide, high] = ["width", "height"].map((name) => N.widgets.find((widget) => widget.name === name));
      for (const [widget, size] of [[wide, w], [high, h]]) {
        widget.value = size;
        widget.callback?.(size);
      }
      N.widgets.find((widget) => widget.name === "state").value = state;
    }, [text, width, height]);
    found.push({ ...(await shownHands(page)), prompt: await prompt(page), size: await page.evaluate(() => P.size) });
  }
  return { found };
}

/** Everything that the mouse does; the host's canvas and node must not notice. */
export async function mouse(page, given) {
  await freshPoser(page);
  const still = () => page.evaluate(() => JSON.stringify([[...N.pos], [...N.size], app.canvas.ds.scale, [...app.canvas.ds.offset]]));
  const before = await still();
  const steps = { empty: await value(page) };
  const start = await middle(page);
  await drag(page, [start[0], start[1] + 40], [start[0] + 120, start[1] + 10]);
  steps.moved = await hand(page);
  const tip = await dot(page, 1);
  await drag(page, tip, [tip[0], tip[1] + 170]);
  steps.pulled = await hand(page);
  const now = await middle(page);
  await drag(page, now, [now[0] + 90, now[1] + 40], { button: "right" });
  steps.turned = await hand(page);
  await changing(page, async () => { for (let i = 0; i < 3; i++) await page.mouse.wheel(0, -120); });
  steps.larger = await hand(page);
  await page.locator(".hp-panel input[aria-label^='Middle'][aria-label*='Curl']").fill("190");
  await settled(page);
  steps.curled = await hand(page);
  steps.limits = await page.evaluate(() => P.model.limits);
  steps.untouched = (await still()) === before;
  if (given.shots) await page.screenshot({ path: `${given.shots}/mouse.png` });
  steps.text = await value(page);
  steps.undone = await page.evaluate(() => { while (P.history.past.length) P.undo(); return P.value; });
  steps.redone = await page.evaluate(() => { while (P.history.future.length) P.redo(); return P.value; });
  return steps;
}

/** Several hands, the list of poses, sides; and keys, none of which may reach the host's shortcuts. */
export async function keys(page) {
  await freshPoser(page);
  const steps = {};
  await page.locator(".hp-stage canvas").focus();
  await changing(page, async () => { for (const key of ["ArrowRight", "ArrowRight", "+", "]"]) await page.keyboard.press(key); });
  steps.moved = await hand(page);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  steps.joint = await page.evaluate(() => P.joint);
  steps.said = await page.locator(".hp-said").textContent();
  await changing(page, async () => { for (let i = 0; i < 6; i++) await page.keyboard.press("ArrowDown"); });
  steps.pulled = await hand(page);
  await page.keyboard.press("m");
  steps.mirrored = await hand(page);
  await page.keyboard.press("a");
  steps.two = await page.evaluate(() => JSON.parse(P.value).hands.map((h) => h.side));
  await page.keyboard.press("Delete");
  await page.keyboard.press("Backspace");
  steps.none = await page.evaluate(() => [JSON.parse(P.value).hands.length, app.graph._nodes.length]);
  await page.keyboard.press("Control+z");
  await page.keyboard.press("Control+z");
  await page.waitForTimeout(300); // the host's own undo would come late
  steps.back = await page.evaluate(() => [JSON.parse(P.value).hands.length, app.graph._nodes.length, app.graph._nodes[0] === N]);
  await page.locator(".hp-bar button[aria-label='Poses']").click();
  await page.waitForSelector(".hp-grid button");
  steps.poses = await page.locator(".hp-grid button").count();
  await page.locator(".hp-poses input[type='search']").fill("rock");
  await page.locator(".hp-grid button:not([hidden])").first().click();
  steps.posed = await hand(page, await page.evaluate(() => P.selected));
  await page.locator(".hp-stage canvas").focus();
  for (let i = 0; i < 40 && await page.evaluate(() => document.activeElement === P.stage.canvas); i++) await page.keyboard.press("Tab");
  steps.leaves = await page.evaluate(() => document.activeElement !== P.stage.canvas); // Tab is no trap
  steps.unnamed = await page.evaluate(() => [...P.element.querySelectorAll("button, input, canvas[tabindex]")]
    .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim())).map((e) => e.outerHTML));
  return steps;
}

/** Two fingers on a touch screen. */
export async function touch(page) {
  await freshPoser(page);
  const at = await middle(page);
  const before = await page.evaluate(() => ({ ...P.hand }));
  const session = await page.context().newCDPSession(page);
  const send = (type, points) => session.send("Input.dispatchTouchEvent", { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })) });
  const pair = (far, tilt) => [-1, 1].map((sign) => [at[0] + sign * far * Math.cos(tilt), at[1] + sign * far * Math.sin(tilt)]);
  await send("touchStart", pair(60, 0).slice(0, 1));
  await send("touchStart", pair(60, 0));
  for (let i = 1; i <= 10; i++) await send("touchMove", pair(60 + 4 * i, 0.03 * i));
  await changing(page, () => send("touchEnd", []));
  return { before, after: await hand(page) };
}

/** A connected picture and connected hands; saved, the page loaded anew, and run by the page itself. */
export async function reload(page, given, { open }) {
  await page.evaluate(async () => {
    app.graph.clear();
    const add = (kind, pos) => {
      const node = LiteGraph.createNode(kind);
      node.pos = pos;
      app.graph.add(node);
      return node;
    };
    const [load, gesture, poser] = [add("LoadImage", [20, 60]), add("HanDrawerGesture", [20, 500]), add("HanDrawerPoser", [380, 60])];
    const [render, mask, keep] = [add("HanDrawerRenderHands", [880, 60]), add("MaskToImage", [880, 500]), add("PreviewImage", [1150, 60])];
    const into = (node, name) => node.inputs.findIndex((input) => input.name === name);
    load.widgets.find((w) => w.name === "image").value = "behind.png";
    gesture.widgets.find((w) => w.name === "gesture").value = "ok";
    load.connect(0, poser, into(poser, "image"));
    gesture.connect(0, poser, into(poser, "hands"));
    poser.connect(0, render, into(render, "hands"));
    render.connect(render.outputs.findIndex((output) => output.type === "MASK"), mask, 0);
    mask.connect(0, keep, 0);
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset[0] = app.canvas.ds.offset[1] = 0;
    [window.P, window.N] = [poser.handrawerPoser.poser, poser];
    await P.ready;
  });
  await page.waitForFunction(() => P.stage.background, undefined, { timeout: 90000 });
  await settled(page);
  const steps = { size: await page.evaluate(() => P.size), behind: await page.evaluate(() => P.stage.background?.naturalWidth) };
  steps.ran = await run(page);
  steps.offered = await page.evaluate(() => ({ state: P.offered, shown: P.state, value: P.value, undo: P.history.past.length }));
  const tip = await dot(page, 2);
  await drag(page, tip, [tip[0] - 40, tip[1] + 60]);
  steps.value = await value(page);
  steps.saved = await page.evaluate(() => app.graph.serialize());
  await open();
  await page.evaluate(async (saved) => {
    await app.loadGraphData(saved);
    window.N = app.graph._nodes.find((node) => node.type === "HanDrawerPoser");
    window.P = N.handrawerPoser.poser;
    await P.ready;
  }, steps.saved);
  await page.waitForFunction(() => P.stage.background, undefined, { timeout: 90000 });
  steps.reloaded = await value(page);
  steps.shown = await shownHands(page);
  steps.again = await run(page);
  steps.prompt = await prompt(page);
  if (given.shots) await page.screenshot({ path: `${given.shots}/reload.png` });
  steps.taken = await page.evaluate(() => { P.take(); return { value: P.value, offered: P.offered, shown: P.state }; });
  return steps;
}

const run = (page) => page.evaluate(() => new Promise((resolve) => {
  const done = (result) => setTimeout(() => resolve(result), 300);
  app.api.addEventListener("execution_success", (event) => done({ id: event.detail.prompt_id }), { once: true });
  app.api.addEventListener("execution_error", (event) => done({ failed: event.detail.exception_message }), { once: true });
  app.queuePrompt(0, 1);
  setTimeout(() => resolve({ failed: "nothing was heard for 300 seconds" }), 300000);
}));

/** A value that cannot be read is kept and complained of in the widget; starting anew mends it. */
export async function unreadable(page) {
  await freshPoser(page, [460, 700]);
  return page.evaluate(() => {
    const widget = N.widgets.find((w) => w.name === "state");
    widget.value = '{"format": "handrawer-poser", "version": 99}';
    const said = P.message();
    const kept = widget.value;
    P.startAnew();
    return { said, kept, after: P.message(), hands: JSON.parse(widget.value).hands.length };
  });
}

/** The newer renderer: the widget lies in the node's own elements. */
export async function newRenderer(page, given) {
  await freshPoser(page, [460, 720]);
  await page.waitForFunction(() => P.element.closest(".lg-node"), undefined, { timeout: 90000 });
  await settled(page);
  const steps = { inside: await page.evaluate(() => Boolean(P.element.closest(".lg-node"))) };
  const still = () => page.evaluate(() => JSON.stringify([[...N.pos], app.canvas.ds.scale, [...app.canvas.ds.offset]]));
  steps.stage = await page.evaluate(() => { const { width, height } = P.stage.canvas.getBoundingClientRect(); return [width, height]; });
  const before = await still();
  const tip = await dot(page, 1);
  await drag(page, tip, [tip[0], tip[1] + 90]);
  steps.pulled = await hand(page);
  const at = await middle(page);
  await drag(page, [at[0], at[1] + 30], [at[0] + 50, at[1] + 40]);
  await changing(page, () => page.mouse.wheel(0, -120));
  steps.moved = await hand(page);
  steps.untouched = (await still()) === before;
  steps.size = await page.evaluate(() => [...N.size]);
  const corner = await page.evaluate(() => { const { right, bottom } = P.element.closest(".lg-node").getBoundingClientRect(); return [right - 4, bottom - 4]; });
  await page.mouse.move(...corner);
  await page.mouse.down();
  await page.mouse.move(corner[0] + 150, corner[1] + 120, { steps: 8 });
  await page.mouse.up();
  await settled(page);
  steps.grown = await page.evaluate(() => { const { width, height } = P.stage.canvas.getBoundingClientRect(); return [width, height]; });
  if (given.shots) await page.screenshot({ path: `${given.shots}/new_renderer.png` });
  steps.value = await value(page);
  const graph = await page.evaluate(() => app.graph.serialize());
  steps.saved = [...graph.nodes[0].widgets_values];
  graph.nodes[0].widgets_values[2] = given.states[0].text; // another workflow with a node of the same number
  await page.evaluate(async (saved) => {
    await app.loadGraphData(saved);
    window.N = app.graph._nodes[0];
    window.P = N.handrawerPoser.poser;
    await P.ready;
  }, graph);
  await page.waitForFunction(() => P.element.closest(".lg-node"), undefined, { timeout: 90000 });
  await settled(page);
  steps.another = { ...(await shownHands(page)), prompt: await prompt(page), size: await page.evaluate(() => P.size) };
  return steps;
}

/** What can be pressed, pulled or read of the poser now and is not covered, with where it lies on the screen. */
const legible = (page) => page.evaluate(() => {
  const on = (element, x, y) => element.contains(document.elementFromPoint(x, y));
  return [...P.element.querySelectorAll("button, input[type='range'], input[type='search'], .hp-head, .hp-name, .hp-shape span")]
    .filter((element) => !element.disabled)
    .map((element) => ({ element, box: element.getBoundingClientRect() }))
    .filter(({ element, box }) => box.width && on(element, box.x + box.width / 2, box.y + box.height / 2)
      && on(element, box.x + 4, box.y + 4) && on(element, box.right - 4, box.bottom - 4))
    .map(({ element, box }) => ({
      kind: element.className || element.tagName, name: element.getAttribute("aria-label") ?? element.textContent,
      at: [box.x, box.y, box.width, box.height],
    }));
});

/** A theme that is chosen while the page is open: what the poser looks like then, and that it can still be used. */
async function themed(page, given, theme, back) {
  const choose = (name) => page.evaluate((id) => app.extensionManager.setting.set("Comfy.ColorPalette", id), name);
  await choose(theme);
  await freshPoser(page, [460, 720]);
  const steps = { newer: await page.evaluate(() => Boolean(P.element.closest(".lg-node"))) };
  const tip = await dot(page, 1);
  await drag(page, tip, [tip[0], tip[1] + 60]);
  steps.pulled = await hand(page);
  const look = async (name) => {
    await page.mouse.move(5, 1140); // nothing is hovered over
    await settled(page);
    if (given.shots) await page.screenshot({ path: `${given.shots}/${given.name}_${name}.png` });
    return { controls: await legible(page), picture: (await page.screenshot()).toString("base64") };
  };
  steps.stage = await page.evaluate(() => { const { x, y, width, height } = P.stage.canvas.getBoundingClientRect(); return [x, y, width, height]; });
  steps.panel = await look("panel");
  await page.locator(".hp-bar button[aria-label='Poses']").click();
  await page.waitForSelector(".hp-grid button");
  steps.poses = await look("poses");
  await choose(back);
  return steps;
}

export const olderLight = (page, given) => themed(page, given, "light", "dark");
export const newerDark = (page, given) => themed(page, given, "dark", "light");
