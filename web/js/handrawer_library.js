// The pose library in ComfyUI's page: a picture of the chosen pose, a panel to choose one, files out and in.
import { app } from "../../../scripts/app.js";

import { CELL, addStyle, exportPose, fetchPoses, importPoses, openChooser, paint } from "./pose_chooser.js";
import { make } from "./poser/dom.js";
import { icon } from "./poser/icons.js";
import { describe, found } from "./poser/titles.js";
import { wordsOf } from "./poser/words.js";

const NODE = "HanDrawerPoseLibrary";

const localeOf = () => app.ui?.settings?.getSettingValue?.("Comfy.Locale");

/** Say something in the host's own way. */
function tell(severity, detail) {
  app.extensionManager?.toast?.add?.({ severity, summary: "HanDrawer", detail, life: 8000 });
}

/** Run something after the widget's own answer to a change. */
function whenChanged(widget, run) {
  const before = widget.callback;
  widget.callback = function (...values) {
    const result = before?.apply(this, values);
    run();
    return result;
  };
}

class Library {
  constructor(node) {
    this.node = node;
    this.poses = [];
    [this.search, this.pose, this.side] = ["search", "pose", "side"].map((name) => node.widgets.find((w) => w.name === name));
    this.first = this.pose.options.values[0];
    this.build(wordsOf(localeOf()));
    for (const widget of [this.search, this.pose, this.side]) whenChanged(widget, () => this.update());
    const configured = node.onConfigure;
    node.onConfigure = (...values) => {
      const result = configured?.apply(node, values);
      this.update();
      return result;
    };
    this.ready = this.load();
  }

  build(words) {
    addStyle();
    const button = (name, run, sign) => {
      const made = make("button", { type: "button", title: words[`${name}Tip`], innerHTML: icon(sign) },
        make("span", { textContent: words[name] }));
      made.addEventListener("click", run);
      return made;
    };
    this.picture = make("button", { type: "button", className: "handrawer-pose", title: words.posesTip });
    this.picture.addEventListener("click", () => this.open());
    this.buttons = {
      poses: button("poses", () => this.open(), "poses"),
      import: button("import", () => this.bring(), "take"),
      export: button("export", () => this.send(), "send"),
    };
    this.element = make("div", { className: "handrawer-library" }, this.picture, make("div", {}, ...Object.values(this.buttons)));
    this.element.addEventListener("pointerdown", (event) => event.stopPropagation());
    const widget = this.node.addDOMWidget("picture", "handrawer_pose", this.element, {
      serialize: false, hideOnZoom: false, getMinHeight: () => CELL + 24, getMaxHeight: () => CELL + 24, // with its margins
    });
    widget.serialize = false; // no value of its own in the saved workflow, where an input may come to stand one day
  }

  /** The poses as the host has them now: one's own may have come or gone. */
  async load() {
    this.poses = await fetchPoses();
    this.update();
    return this.poses;
  }

  /** The name of the pose that a run would take. */
  get shown() {
    return this.pose.value === this.first ? this.names[0] : this.pose.value;
  }

  get names() {
    return found(this.poses, this.search.value ?? "").map(({ name }) => name);
  }

  update() {
    if (this.poses.length) this.pose.options.values = [this.first, ...this.names];
    const entry = this.poses.find(({ name }) => name === this.shown);
    paint(this.picture, entry, this.side.value);
    this.picture.title = entry ? describe(entry, wordsOf(localeOf()).language) : "";
    this.picture.setAttribute("aria-label", this.picture.title);
    this.buttons.export.disabled = !entry;
    app.graph?.setDirtyCanvas(true, true);
  }

  choose(name) {
    if (!this.names.includes(name)) this.set(this.search, ""); // the list shall hold what is chosen
    this.set(this.pose, name);
    app.extensionManager?.workflow?.activeWorkflow?.changeTracker?.checkState?.();
  }

  set(widget, value) {
    widget.value = value;
    widget.callback?.(value); // the newer renderer shows what it hears of
  }

  async open() {
    try {
      await this.load();
      openChooser({
        poses: this.poses, chosen: this.shown, side: this.side.value, search: this.search.value ?? "", locale: localeOf(),
        choose: (name) => this.choose(name), reload: () => this.load(),
      });
    } catch (error) {
      tell("error", error.message);
    }
  }

  async bring() {
    const { names, faults } = await importPoses();
    for (const fault of faults) tell("error", fault);
    if (!names.length) return;
    await this.load();
    this.choose(names[0]);
  }

  async send() {
    try {
      await exportPose(this.shown);
    } catch (error) {
      tell("error", error.message);
    }
  }
}

app.registerExtension({
  name: "HanDrawer.library",
  async nodeCreated(node) {
    if (node.comfyClass !== NODE || node.handrawerLibrary) return;
    node.handrawerLibrary = new Library(node);
    await node.handrawerLibrary.ready;
  },
});
