// What the page does with workflow files, and with the help pages of the nodes.

/** A graph on the canvas: which nodes are unknown, every node's values, what the page says, and what it would send. */
async function opened(page, graph, complaints) {
  complaints.take();
  const seen = await page.evaluate(async (saved) => {
    await app.loadGraphData(saved);
    for (let i = 0; i < 3; i++) await new Promise((resolve) => { requestAnimationFrame(resolve); });
    await new Promise((resolve) => { setTimeout(resolve, 150); });
    const nodes = app.graph._nodes;
    const shown = (element) => element.getClientRects().length > 0;
    return {
      missing: nodes.filter((node) => !LiteGraph.registered_node_types[node.type]).map((node) => node.type),
      values: Object.fromEntries(nodes.map((node) => [node.id, node.serialize().widgets_values ?? null])),
      drawn: document.querySelectorAll(".lg-node[data-node-id]").length,
      dialogs: [...document.querySelectorAll("[role='dialog'], .p-dialog")].filter(shown).map((element) => element.innerText.slice(0, 400)),
      api: (await app.graphToPrompt()).output,
    };
  }, graph);
  if (seen.dialogs.length) await page.keyboard.press("Escape");
  return { ...seen, complaints: complaints.take() };
}

async function openAll(page, files, complaints) {
  const found = {};
  for (const [name, graph] of Object.entries(files)) found[name] = await opened(page, graph, complaints);
  return found;
}

/** Every workflow that ships or shipped, and one of a node that nobody has: the page must complain of that. */
export async function workflows(page, { workflows: files, broken, shots }, { complaints }) {
  const found = await openAll(page, files, complaints);
  if (shots) await page.screenshot({ path: `${shots}/workflow.png` });
  return { found, broken: await opened(page, broken, complaints) };
}

/** Those that ship, drawn by the newer renderer. */
export async function workflowsNewer(page, { workflows: files, shots }, { complaints }) {
  const shipping = Object.fromEntries(Object.entries(files).filter(([name]) => name.startsWith("workflows/")));
  const found = {};
  for (const [name, graph] of Object.entries(shipping)) {
    found[name] = await opened(page, graph, complaints);
    found[name].count = graph.nodes.length;
  }
  if (shots) await page.screenshot({ path: `${shots}/workflow_newer.png` });
  return { found };
}

/** The help page of each of our nodes, as the host's help panel shows it. */
export async function help(page, { shots }) {
  const names = await page.evaluate(() => {
    app.graph.clear();
    const node = LiteGraph.createNode("HanDrawerGesture");
    node.pos = [900, 420];
    app.graph.add(node);
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset[0] = app.canvas.ds.offset[1] = 0;
    app.canvas.selectNode(node);
    app.canvas.setDirty(true, true);
    return Object.keys(LiteGraph.registered_node_types).filter((name) => name.startsWith("HanDrawer"));
  });
  await page.locator("[data-testid='info-button']").first().click(); // as a person opens it
  await page.waitForSelector(".node-help-content h1");
  const first = await page.locator(".node-help-content h1").first().textContent();
  const found = {};
  for (const name of names) {
    const title = await page.evaluate((kind) => {
      const { _s: stores } = document.querySelector("#vue-app").__vue_app__.config.globalProperties.$pinia;
      const node = stores.get("nodeDef").nodeDefsByName[kind];
      stores.get("nodeHelp").openHelp(node);
      return node.display_name;
    }, name);
    await page.waitForFunction((wanted) => document.querySelector(".node-help-content h1")?.textContent === wanted
      && [...document.querySelectorAll(".node-help-content img")].every((image) => image.complete), title);
    found[name] = await page.evaluate(async () => {
      const content = document.querySelector(".node-help-content");
      const links = [...content.querySelectorAll("a[href]")].map((link) => link.getAttribute("href"));
      const dead = [];
      for (const link of links) {
        if (!/^https?:/.test(link) && !(await fetch(link)).ok) dead.push(link);
      }
      return {
        pictures: [...content.querySelectorAll("img")].map((image) => image.naturalWidth),
        headings: [...content.querySelectorAll("h2")].map((heading) => heading.textContent),
        raw: /\*\*|\]\(|^#/m.test(content.innerText),
        links, dead,
      };
    });
    if (shots && ["HanDrawerPoser", "HanDrawerScoreHands", "HanDrawerApplyAdvanced"].includes(name)) {
      await page.screenshot({ path: `${shots}/help_${name}.png` });
    }
  }
  return { first, found };
}
