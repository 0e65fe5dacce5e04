// The hand poser in ComfyUI's page: puts the widget on the node HanDrawerPoser and tells it what the page knows.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

import { keepPose } from "./pose_chooser.js";
import { HandModel } from "./poser/model.js";
import { Poser } from "./poser/poser.js";

const NODE = "HanDrawerPoser";
const STATE = "state";
const MESSAGE = "handrawer_poser";
const SETTINGS = "handrawer_poser";
const SIZE = [460, 720];
const LEAST = 340; // pixels of height

let model;
let gestures;

async function fetchJson(path) {
  const answer = await api.fetchApi(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${answer.statusText}`);
  return answer.json();
}

function loadModel() {
  model ??= fetchJson("/handrawer/poser/model").then((data) => new HandModel(data), (error) => {
    model = undefined; // another node may try again
    throw error;
  });
  return model;
}

function loadGestures() {
  gestures = fetchJson("/handrawer/poser/gestures");
  return gestures;
}

const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);
const slotOf = (node, name) => node.inputs?.findIndex((input) => input.name === name) ?? -1;
const linked = (node, name) => node.inputs?.find((input) => input.name === name)?.link != null;

/** Run something after a method of an object. */
function after(object, name, run) {
  const before = object[name];
  object[name] = function (...values) {
    const result = before?.apply(this, values);
    run.apply(this, values);
    return result;
  };
}

/** Tell the host that the workflow has changed. */
function noteChange(node) {
  node.graph?.setDirtyCanvas?.(true, true);
  app.extensionManager?.workflow?.activeWorkflow?.changeTracker?.checkState?.();
}

/** The address of the picture that a connected node shows already, before anything has run. */
function shownBy(node) {
  const slot = slotOf(node, "image");
  const origin = slot < 0 ? null : node.getInputNode?.(slot);
  if (!origin) return null;
  const chosen = widgetOf(origin, "image")?.value;
  if (origin.type === "LoadImage" && typeof chosen === "string" && chosen) {
    const [, path, kind] = chosen.match(/^(.*?)(?: \[(input|output|temp)\])?$/);
    const cut = path.lastIndexOf("/");
    const query = new URLSearchParams({ filename: path.slice(cut + 1), subfolder: path.slice(0, Math.max(cut, 0)), type: kind ?? "input" });
    return api.apiURL(`/view?${query}`);
  }
  return null;
}

class Attachment {
  constructor(node) {
    this.node = node;
    this.message = null;
    node.properties ??= {};
    node.properties[SETTINGS] ??= { sliders: true };
    this.poser = new Poser({
      loadModel,
      loadGestures,
      keepPose: (state, hand, name) => keepPose({ state, hand, name, tags: "mine" }),
      locale: app.ui?.settings?.getSettingValue?.("Comfy.Locale"),
      settings: node.properties[SETTINGS],
      changed: () => {
        this.widget.callback?.(this.poser.value);
        noteChange(node);
      },
    });
    this.poser.stage.panning = () => Boolean(app.canvas?.read_only);
    this.poser.pictureLoaded = (width, height) => {
      if (linked(node, "image")) this.poser.setSize(width, height);
    };
    this.poser.element.addEventListener("wheel", (event) => this.passOn(event), { passive: false });
    this.poser.element.addEventListener("pointerdown", (event) => {
      if (event.button === 1 && !event.defaultPrevented && !event.target.closest(".lg-node")) app.canvas.processMouseDown(event);
    });
    this.takePlace();
    this.follow();
  }

  /** The widget stands where the plain text of the state stood, under its name and in its order. */
  takePlace() {
    const { node, poser } = this;
    const plain = widgetOf(node, STATE);
    const place = plain ? node.widgets.indexOf(plain) : node.widgets?.length ?? 0;
    const given = plain?.value ?? "";
    if (plain) {
      plain.onRemove?.();
      node.widgets.splice(place, 1);
    }
    this.widget = node.addDOMWidget(STATE, "handrawer_poser", poser.element, {
      getValue: () => poser.value,
      setValue: (value) => { poser.value = value; },
      getMinHeight: () => LEAST + 20, // with its margins
      hideOnZoom: false,
      margin: 8,
      onDraw: () => this.zoomed(),
    });
    node.widgets.splice(node.widgets.indexOf(this.widget), 1);
    node.widgets.splice(place, 0, this.widget);
    this.widget.value = given;
    this.dropSocket();
  }

  /** The state is not for links: a socket of its own would only stand in the way. */
  dropSocket() {
    const slot = slotOf(this.node, STATE);
    if (slot >= 0 && this.node.inputs[slot].link == null) this.node.removeInput(slot);
  }

  /** Learn of everything that changes the size, the picture or the connected hands. */
  follow() {
    const { node } = this;
    const look = () => this.look();
    for (const name of ["width", "height"]) {
      const widget = widgetOf(node, name);
      if (widget) after(widget, "callback", look);
    }
    after(node, "onConnectionsChange", () => setTimeout(look, 0));
    after(node, "onConfigure", () => {
      node.properties[SETTINGS] ??= { sliders: true };
      this.poser.settings = node.properties[SETTINGS];
      this.dropSocket();
      setTimeout(look, 0);
    });
    after(node, "onExecuted", (output) => this.heard(output?.[MESSAGE]?.[0]));
    after(node, "onAdded", () => setTimeout(look, 0));
    after(node, "onRemoved", () => this.poser.remove());
    setTimeout(look, 0);
  }

  heard(message) {
    if (!message) return;
    this.message = message;
    this.look();
  }

  look() {
    const { node, poser } = this;
    if (!node.graph) return;
    this.heardBefore();
    this.mount();
    const { message } = this;
    const picture = linked(node, "image");
    const hands = linked(node, "hands");
    poser.setConnected(hands);
    this.setBackground(picture);
    if (!picture) poser.setSize(...this.askedSize());
    else if (message) poser.setSize(message.width, message.height);
    if (hands && message?.hands && message.hands !== this.offered) poser.setOffered(message.hands);
    this.offered = hands ? message?.hands : null;
  }

  /** The newer renderer keeps what it shows of a node when another takes its number at once: a workflow loaded anew. */
  mount() {
    const { node, poser } = this;
    if (node.graph !== app.canvas?.graph) return;
    const shown = document.querySelector(`.lg-node[data-node-id="${node.id}"] .handrawer-poser`);
    if (shown && shown !== poser.element) shown.replaceWith(poser.element);
  }

  /** A node that is shown again (another tab, an undo) still has what its last run said. */
  heardBefore() {
    this.message ??= app.nodeOutputs?.[this.node.id]?.[MESSAGE]?.[0] ?? null;
  }

  askedSize() {
    const { node, message } = this;
    if (message && (linked(node, "width") || linked(node, "height"))) return [message.width, message.height];
    return ["width", "height"].map((name) => Math.max(8, Number(widgetOf(node, name)?.value) || 512));
  }

  setBackground(picture) {
    const shown = picture ? shownBy(this.node) : null;
    const ran = picture ? this.message?.background : null;
    const address = shown ?? (ran ? api.apiURL(`/view?${new URLSearchParams(ran)}`) : null);
    this.poser.setBackground(address);
  }

  /** The widget's canvas follows the host's zoom. */
  zoomed() {
    const shown = this.shownScale;
    this.shownScale = app.canvas?.ds?.scale;
    if (shown !== this.shownScale) this.poser.stage.draw();
    const picture = linked(this.node, "image") ? shownBy(this.node) : null;
    if (picture && picture !== this.poser.stage.address) this.look();
  }

  /** Scrolling beside the stage zooms the host's canvas, as it does everywhere else. */
  passOn(event) {
    if (event.defaultPrevented || event.target.closest(".lg-node")) return;
    event.preventDefault();
    app.canvas.processMouseWheel(event);
  }
}

app.registerExtension({
  name: "HanDrawer.Poser",
  setup() {
    // Two fingers on the stage are for the hand: the host would zoom its canvas, and listens before the widget could.
    for (const kind of ["touchstart", "touchmove", "touchend", "touchcancel"]) {
      window.addEventListener(kind, (event) => {
        if (event.target.closest?.(".hp-stage")) event.stopPropagation();
      }, { capture: true, passive: true });
    }
  },
  nodeCreated(node) {
    if (node.comfyClass !== NODE || node.handrawerPoser) return;
    node.handrawerPoser = new Attachment(node);
    node.setSize([Math.max(node.size[0], SIZE[0]), Math.max(node.size[1], SIZE[1])]);
  },
});
