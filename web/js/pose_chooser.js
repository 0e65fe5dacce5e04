// A panel over the page with the pictures of all poses, to choose one; and what is done with files of poses.
import { api } from "../../../scripts/api.js";

import { make } from "./poser/dom.js";
import { icon } from "./poser/icons.js";
import { describe, found, titleOf } from "./poser/titles.js";
import { wordsOf } from "./poser/words.js";

const SHEET = new URL("../poses.webp", import.meta.url).href;
const COLUMNS = 11; // of the sheet, see scripts/draw_poses.py
export const CELL = 96; // pixels

const STYLE = `
.handrawer-library { display: flex; gap: 8px; align-items: center; box-sizing: border-box; width: 100%; min-height: ${CELL}px;
  color: var(--input-text, #ddd); font: 12px/1.3 Inter, Arial, sans-serif; }
.handrawer-library > div { flex: 1; display: flex; flex-direction: column; gap: 4px; min-width: 0; }
.handrawer-library button, .handrawer-chooser button { display: inline-flex; align-items: center; justify-content: center; gap: 5px; box-sizing: border-box;
  min-height: 26px; min-width: 26px; padding: 2px 6px; border: 1px solid var(--border-color, #4e4e4e); border-radius: 5px;
  background: var(--comfy-input-bg, #222); color: inherit; font: inherit; cursor: pointer; }
.handrawer-library button:hover, .handrawer-chooser button:hover { background: color-mix(in srgb, var(--comfy-input-bg, #222) 80%, var(--input-text, #ddd)); }
.handrawer-library svg, .handrawer-chooser svg { flex: none; width: 15px; height: 15px; fill: none; stroke: currentColor; stroke-width: 1.7; stroke-linecap: round; stroke-linejoin: round; }
.handrawer-library button span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.handrawer-library :focus-visible, .handrawer-chooser :focus-visible { outline: 2px solid var(--p-primary-color, #4f9cf9); outline-offset: 1px; }
.handrawer-pose { flex: none; width: ${CELL}px; height: ${CELL}px; border-radius: 6px; background: #292929 center / cover no-repeat; }
.handrawer-pose[hidden] { display: block !important; visibility: hidden; }
.handrawer-chooser { width: min(680px, 92vw); height: min(620px, 86vh); padding: 12px; border: 1px solid var(--border-color, #4e4e4e); border-radius: 10px;
  background: var(--comfy-menu-bg, #353535); color: var(--input-text, #ddd); font: 13px/1.3 Inter, Arial, sans-serif; }
.handrawer-chooser[open] { display: flex; flex-direction: column; gap: 10px; }
.handrawer-chooser::backdrop { background: #0008; }
.handrawer-chooser header { display: flex; gap: 8px; }
.handrawer-chooser input { flex: 1; min-width: 0; height: 30px; box-sizing: border-box; padding: 0 10px; border: 1px solid var(--border-color, #4e4e4e); border-radius: 5px;
  background: var(--comfy-input-bg, #222); color: inherit; font: inherit; }
.handrawer-grid { flex: 1; min-height: 0; overflow-y: auto; display: grid; grid-template-columns: repeat(auto-fill, minmax(112px, 1fr)); grid-auto-rows: max-content; gap: 6px; }
.handrawer-chooser .handrawer-grid button { flex-direction: column; padding: 6px 4px; }
.handrawer-chooser .handrawer-grid button[hidden] { display: none; }
.handrawer-chooser .handrawer-grid button[aria-pressed="true"] { border-color: var(--p-primary-color, #4f9cf9); box-shadow: inset 0 0 0 1px var(--p-primary-color, #4f9cf9); }
.handrawer-chooser .handrawer-grid span { max-width: 100%; overflow-wrap: anywhere; text-align: center; }
.handrawer-said { margin: 0; color: var(--descrip-text, #999); }
.handrawer-said:empty { display: none; }
`;

export function addStyle() {
  if (document.getElementById("handrawer-library-style")) return;
  document.head.append(make("style", { id: "handrawer-library-style", textContent: STYLE }));
}

/** An answer's JSON. Throws an Error with the host's sentence where it refuses. */
async function ask(path, options) {
  const answer = await api.fetchApi(path, options);
  if (!answer.ok) throw new Error((await answer.text()) || `${path}: ${answer.status} ${answer.statusText}`);
  return answer.json();
}

export const fetchPoses = () => ask("/handrawer/poses");

/** Keep a pose in the user's folder: `{text}` of a file, or `{state, hand, name, tags}` of the poser; its name. */
export async function keepPose(asked) {
  const headers = { "Content-Type": "application/json" };
  return (await ask("/handrawer/poses", { method: "POST", headers, body: JSON.stringify(asked) })).name;
}

const addressOf = (name) => `/handrawer/poses/${encodeURIComponent(name)}`;

/** Hand a pose's file to the user, as a download. */
export async function exportPose(name) {
  const pose = await ask(addressOf(name));
  const file = URL.createObjectURL(new Blob([`${JSON.stringify(pose, null, 1)}\n`], { type: "application/json" }));
  const link = make("a", { href: file, download: `${name.replace(/ \(mine\)$/, "")}.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(file), 10000);
}

/** Let the user choose files of poses, and keep them: the names, and a sentence for each that is none. */
export function importPoses() {
  return new Promise((resolve) => {
    const input = make("input", { type: "file", accept: ".json,application/json", multiple: true });
    input.addEventListener("cancel", () => resolve({ names: [], faults: [] }));
    input.addEventListener("change", async () => {
      const [names, faults] = [[], []];
      for (const file of input.files) {
        try {
          names.push(await keepPose({ text: await file.text() }));
        } catch (error) {
          faults.push(`${file.name}: ${error.message}`);
        }
      }
      resolve({ names, faults });
    });
    input.click();
  });
}

/** Show a pose in an element: its place on the sheet, or the host's picture of one's own. */
export function paint(element, pose, side) {
  element.hidden = !pose;
  if (!pose) return;
  const { place } = pose;
  element.style.backgroundImage = `url("${place === null ? api.apiURL(`${addressOf(pose.name)}/picture`) : SHEET}")`;
  element.style.backgroundSize = place === null ? "cover" : "auto";
  element.style.backgroundPosition = place === null ? "" : `-${(place % COLUMNS) * CELL}px -${Math.floor(place / COLUMNS) * CELL}px`;
  element.style.transform = side === "left" ? "scaleX(-1)" : "";
}

/**
 * Open the panel.
 * @param options `poses`, `chosen` (a name), `side`, `words` (of the search), `locale`, `choose(name)`,
 *   `reload()`: the poses anew, after an import
 */
export function openChooser({ poses, chosen, side, search, locale, choose, reload }) {
  addStyle();
  const words = wordsOf(locale);
  const field = make("input", { type: "search", placeholder: words.search, value: search, "aria-label": words.search });
  const bring = make("button", { type: "button", title: words.importTip, innerHTML: icon("take") });
  bring.append(make("span", { textContent: words.import }));
  const close = make("button", { type: "button", title: words.close, "aria-label": words.close, innerHTML: icon("close") });
  const said = make("p", { className: "handrawer-said", role: "status" });
  const grid = make("div", { className: "handrawer-grid" });
  const panel = make("dialog", { className: "handrawer-chooser", "aria-label": words.poses },
    make("header", {}, field, bring, close), said, grid);
  let cells = [];
  const filter = () => {
    const names = new Set(found(cells.map(({ pose }) => pose), field.value).map(({ name }) => name));
    for (const { pose, cell } of cells) cell.hidden = !names.has(pose.name);
    said.textContent = names.size ? "" : words.nothing;
  };
  const fill = (list) => {
    cells = list.map((pose) => {
      const picture = make("div", { className: "handrawer-pose" });
      paint(picture, pose, side);
      const cell = make("button", { type: "button", title: describe(pose, words.language), "aria-pressed": String(pose.name === chosen) },
        picture, make("span", { textContent: pose.place === null ? pose.name : titleOf(pose, words.language) }));
      cell.addEventListener("click", () => { choose(pose.name); panel.close(); });
      return { pose, cell };
    });
    grid.replaceChildren(...cells.map(({ cell }) => cell));
    filter();
  };
  field.addEventListener("input", filter);
  close.addEventListener("click", () => panel.close());
  bring.addEventListener("click", async () => {
    const { names, faults } = await importPoses();
    if (names.length) {
      field.value = "";
      fill(await reload());
      cells.find(({ pose }) => pose.name === names[0])?.cell.scrollIntoView({ block: "center" });
    }
    if (faults.length) said.textContent = faults.join(" ");
  });
  panel.addEventListener("click", (event) => { if (event.target === panel) panel.close(); });
  for (const kind of ["keydown", "keyup", "wheel", "paste", "copy"]) { // the host's canvas and shortcuts lie below
    panel.addEventListener(kind, (event) => event.stopPropagation());
  }
  panel.addEventListener("close", () => panel.remove());
  document.body.append(panel);
  fill(poses);
  panel.showModal();
  cells.find(({ pose }) => pose.name === chosen)?.cell.scrollIntoView({ block: "center" });
  field.focus();
  return panel;
}
