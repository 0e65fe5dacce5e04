// The named poses as pictures, to choose one.
import { icon } from "./icons.js";
import { make } from "./dom.js";
import { face } from "./operations.js";
import { drawHands } from "./renderer.js";
import { copyHand, dumpState } from "./state.js";
import { found, titleOf } from "./titles.js";

const SIDE = 96; // pixels of a picture; shown smaller, for screens of high resolution

export class Gallery {
  constructor(poser) {
    this.poser = poser;
    const { words } = poser;
    this.search = make("input", { type: "search", placeholder: words.search, "aria-label": words.search });
    this.search.addEventListener("input", () => this.filter());
    const close = make("button", { type: "button", title: words.close, innerHTML: icon("close"), "aria-label": words.close });
    close.addEventListener("click", () => this.close());
    this.turned = make("button", { type: "button", title: words.turnToo, innerHTML: icon("turn"), "aria-label": words.turnToo });
    this.turned.addEventListener("click", () => {
      poser.settings.turnToo = !poser.settings.turnToo;
      this.showTurned();
    });
    this.keepButton = make("button", { type: "button", title: words.keepTip, innerHTML: icon("keep"), "aria-label": words.keepTip });
    this.keepButton.addEventListener("click", () => this.askName());
    this.naming = this.buildNaming();
    this.grid = make("div", { className: "hp-grid", "data-capture-wheel": "true" });
    this.nothing = make("div", { textContent: words.nothing, hidden: true });
    this.element = make("div", { className: "hp-poses", role: "dialog", "aria-label": words.poses, hidden: true },
      make("div", { className: "hp-bar" }, this.search, this.turned, this.keepButton, close), this.naming, this.nothing, this.grid);
    this.element.addEventListener("keydown", (event) => { if (event.key === "Escape") this.close(); });
    this.element.addEventListener("wheel", (event) => event.stopPropagation(), { passive: true });
  }

  /** A line to name the pose that is kept, and what came of it. */
  buildNaming() {
    const { words } = this.poser;
    this.name = make("input", { type: "text", placeholder: words.keepName, "aria-label": words.keepName, spellcheck: false });
    const keep = make("button", { type: "button", textContent: words.keep });
    keep.addEventListener("click", () => this.keep());
    this.name.addEventListener("keydown", (event) => { if (event.key === "Enter") this.keep(); });
    this.outcome = make("span", { role: "status" });
    return make("div", { className: "hp-bar", hidden: true }, this.name, keep, this.outcome);
  }

  askName() {
    this.naming.hidden = !this.naming.hidden;
    this.outcome.textContent = "";
    if (!this.naming.hidden) this.name.focus({ preventScroll: true });
  }

  /** Keep the selected hand's pose in the user's own library, and list it. */
  async keep() {
    const { poser } = this;
    try {
      const name = await poser.keepPose(dumpState(poser.state), poser.selected, this.name.value);
      this.outcome.textContent = poser.words.say("kept", { name });
      this.name.value = "";
      this.fill(await poser.loadGestures());
      this.filter();
    } catch (error) {
      this.outcome.textContent = poser.words.say("notKept", { why: error.message });
    }
  }

  async open() {
    if (!this.element.hidden) return this.close();
    this.element.hidden = false;
    this.showTurned();
    this.search.value = "";
    this.naming.hidden = true;
    this.keepButton.hidden = !this.poser.keepPose;
    this.search.focus({ preventScroll: true });
    const gestures = await this.poser.loadGestures();
    this.fill(gestures);
    this.filter();
  }

  close() {
    this.element.hidden = true;
    this.poser.stage.focus();
  }

  showTurned() {
    this.turned.setAttribute("aria-pressed", String(Boolean(this.poser.settings.turnToo)));
  }

  fill(gestures) {
    this.grid.replaceChildren();
    this.cells = gestures.map((gesture) => {
      const picture = make("canvas", { width: SIDE, height: SIDE });
      const title = titleOf(gesture, this.poser.words.language);
      const cell = make("button", { type: "button", title }, picture, make("span", { textContent: title }));
      cell.addEventListener("click", () => {
        this.poser.applyPose(gesture, this.poser.settings.turnToo);
        this.close();
      });
      this.grid.append(cell);
      return { gesture, cell, picture };
    });
    this.paint([...this.cells]);
  }

  /** A few pictures a frame, so that the list opens at once. */
  paint(cells) {
    for (const { gesture, picture } of cells.splice(0, 6)) this.draw(gesture, picture);
    if (cells.length && !this.element.hidden) requestAnimationFrame(() => this.paint(cells));
  }

  draw(gesture, picture) {
    const { model } = this.poser;
    const hand = copyHand(model.data.start.hands[0]);
    hand.angles = gesture.angles;
    hand.side = this.poser.hand?.side ?? "right";
    if (hand.side === "left") hand.translation[0] *= -1;
    face(model, hand, gesture.orientation);
    drawHands(picture.getContext("2d"), model, {
      hands: [hand], posed: [model.pose(hand)], picture: { width: SIDE, height: SIDE },
      rect: { x: -0.06 * SIDE, y: -0.06 * SIDE, width: 1.12 * SIDE, height: 1.12 * SIDE }, look: "shaded",
    });
  }

  filter() {
    const cells = this.cells ?? [];
    const shown = new Set(found(cells.map(({ gesture }) => gesture), this.search.value));
    for (const { gesture, cell } of cells) cell.hidden = !shown.has(gesture);
    this.nothing.hidden = shown.size > 0 || !this.cells;
  }
}
