// Sliders for the selected hand: curl and spread of every finger, and the hand's shape.
import * as operations from "./operations.js";
import { make } from "./dom.js";

const FINGERS = ["thumb", "index", "middle", "ring", "little"];
const STEPS = 200;

export class Panel {
  constructor(poser) {
    this.poser = poser;
    this.sliders = []; // [element, read(hand), write(hand, share)]
    this.element = make("div", { className: "hp-panel", hidden: true });
    this.element.append(make("span"), ...["all", ...FINGERS].map((name) => make("span", { className: "hp-head", textContent: poser.words[name], title: poser.words[name] })));
    const hand = (change) => (target, share) => change(poser.model, target, share);
    this.row("curl", [
      [(h) => this.mean(h), (h, share) => FINGERS.forEach((_, f) => operations.setCurl(poser.model, h, f, share))],
      ...FINGERS.map((_, f) => [(h) => operations.curlOf(h, f), (h, share) => operations.setCurl(poser.model, h, f, share)]),
    ]);
    this.row("spread", [
      [(h) => this.meanSpread(h), (h, share) => FINGERS.forEach((_, f) => operations.setSpread(poser.model, h, f, share))],
      ...FINGERS.map((_, f) => [(h) => operations.spreadOf(poser.model, h, f), (h, share) => operations.setSpread(poser.model, h, f, share)]),
    ]);
    this.row("oppose", [null, [(h) => operations.oppositionOf(poser.model, h), hand(operations.setOpposition)]]);
    this.shape = make("div", { className: "hp-shape" });
    this.element.append(this.shape);
  }

  mean(hand) {
    return FINGERS.reduce((sum, _, f) => sum + operations.curlOf(hand, f), 0) / FINGERS.length;
  }

  meanSpread(hand) {
    return FINGERS.reduce((sum, _, f) => sum + operations.spreadOf(this.poser.model, hand, f), 0) / FINGERS.length;
  }

  row(name, cells) {
    const { words } = this.poser;
    this.element.append(make("span", { className: "hp-name", textContent: words[name] }));
    for (let i = 0; i < 6; i++) {
      const cell = cells[i];
      this.element.append(cell ? this.slider(`${words[["all", ...FINGERS][i]]}: ${words[name]}`, ...cell) : make("span"));
    }
  }

  slider(label, read, write) {
    const element = make("input", { type: "range", min: 0, max: STEPS, step: 1, title: label, "aria-label": label });
    element.addEventListener("input", () => {
      const { poser } = this;
      if (!poser.hand) return;
      write(poser.hand, Number(element.value) / STEPS);
      poser.stage.draw();
      this.show(element);
    });
    element.addEventListener("change", () => this.poser.commit());
    this.sliders.push([element, read]);
    return element;
  }

  /** Shape sliders need the model's names. */
  addShape() {
    const { poser } = this;
    poser.model.data.shape_names.forEach((name, i) => {
      const label = poser.words[name === "spread" ? "shape_spread" : name] ?? name;
      const slider = this.slider(label, (hand) => (hand.shape[i] + 2) / 4, (hand, share) => { hand.shape[i] = 4 * share - 2; });
      slider.addEventListener("dblclick", () => poser.edit((hand) => { hand.shape[i] = 0; }));
      this.shape.append(make("label", {}, make("span", { textContent: label, title: label }), slider));
    });
  }

  /** Set every slider but the one that is being dragged. */
  show(except) {
    const { hand, model } = this.poser;
    if (!hand || !model) return;
    for (const [element, read] of this.sliders) {
      if (element !== except) element.value = String(Math.round(read(hand) * STEPS));
    }
  }

  refresh() {
    const { poser } = this;
    this.element.hidden = !poser.settings.sliders || !poser.model || Boolean(poser.broken);
    if (poser.model && !this.shape.childElementCount) this.addShape();
    for (const [element] of this.sliders) element.disabled = !poser.hand;
    this.show(null);
  }
}
