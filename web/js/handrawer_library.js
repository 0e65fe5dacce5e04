// The pose library in ComfyUI's page: the search shortens the list of poses, and a picture shows the chosen one.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const NODE = "HanDrawerPoseLibrary";
const SHEET = new URL("../poses.webp", import.meta.url).href;
const COLUMNS = 11; // of the sheet, see scripts/draw_poses.py
const CELL = 96; // pixels

async function fetchPoses() {
  const answer = await api.fetchApi("/handrawer/poses");
  if (!answer.ok) throw new Error(`/handrawer/poses: ${answer.status} ${answer.statusText}`);
  return answer.json();
}

const found = (poses, words) => {
  const wanted = words.toLowerCase().replaceAll(",", " ").split(/\s+/).filter(Boolean);
  return poses.filter(({ name, title, tags }) => {
    const text = [name, name.replaceAll("_", " "), title, ...tags].join(" ").toLowerCase();
    return wanted.every((word) => text.includes(word));
  });
};

/** Run something after the widget's own answer to a change. */
function whenChanged(widget, run) {
  const before = widget.callback;
  widget.callback = function (...values) {
    const result = before?.apply(this, values);
    run();
    return result;
  };
}

function addPicture(node) {
  const frame = document.createElement("div");
  const picture = document.createElement("div");
  frame.style.cssText = "display:flex;justify-content:center;align-items:center;overflow:hidden;";
  picture.style.cssText = `width:${CELL}px;height:${CELL}px;border-radius:6px;background-image:url("${SHEET}");`;
  picture.setAttribute("role", "img");
  frame.append(picture);
  node.addDOMWidget("picture", "handrawer_pose", frame, {
    serialize: false, hideOnZoom: false, getMinHeight: () => CELL + 8, getMaxHeight: () => CELL + 8,
  });
  return picture;
}

app.registerExtension({
  name: "HanDrawer.library",
  async nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const [search, pose, side] = ["search", "pose", "side"].map((name) => node.widgets.find((w) => w.name === name));
    const picture = addPicture(node);
    const first = pose.options.values[0];
    let poses = [];
    const update = () => {
      const names = found(poses, search.value ?? "").map(({ name }) => name);
      if (poses.length) pose.options.values = [first, ...names];
      const shown = pose.value === first ? names[0] : pose.value;
      const entry = poses.find(({ name }) => name === shown);
      const place = entry?.place ?? null;
      picture.style.visibility = place === null ? "hidden" : "visible";
      picture.style.backgroundPosition = `-${(place % COLUMNS) * CELL}px -${Math.floor(place / COLUMNS) * CELL}px`;
      picture.style.transform = side.value === "left" ? "scaleX(-1)" : "";
      picture.title = entry ? `${entry.title} (${entry.tags.join(", ")})` : "";
      picture.setAttribute("aria-label", picture.title);
      app.graph?.setDirtyCanvas(true, true);
    };
    for (const widget of [search, pose, side]) whenChanged(widget, update);
    const configured = node.onConfigure;
    node.onConfigure = function (...values) {
      const result = configured?.apply(this, values);
      update();
      return result;
    };
    poses = await fetchPoses();
    update();
  },
});
