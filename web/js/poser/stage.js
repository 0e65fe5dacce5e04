// The canvas on which hands are seen and taken hold of.
import { make } from "./dom.js";
import { Keys } from "./keys.js";
import { clamp } from "./maths.js";
import { project } from "./model.js";
import * as operations from "./operations.js";
import { Painter } from "./painter.js";
import { handAt } from "./renderer.js";
import { pull } from "./solve.js";
import { copyHand } from "./state.js";

const MARGIN = 0.04; // of the stage, around the picture: hands may reach over its edge
const HINT = 22; // pixels of the widget below the picture, for a line of text
const REACH = { mouse: 11, pen: 14, touch: 22 }; // how near to a dot, in pixels of the screen, takes hold of it
const FINGERS = ["thumb", "index", "middle", "ring", "little"];
const PAUSE = 350; // milliseconds after the last scroll or key until it counts as done

export class Stage {
  constructor(poser) {
    this.poser = poser;
    const { words } = poser;
    this.canvas = make("canvas", { tabIndex: 0, role: "application", "aria-label": words.stage });
    // The page's own undo leaves alone what has a history of its own; it knows it by this.
    this.canvas.type = "textarea";
    this.hint = make("div", { className: "hp-hint" });
    this.message = make("div", { className: "hp-message" }, make("span"));
    this.chips = make("div", { className: "hp-hands", role: "group" });
    this.element = make("div", { className: "hp-stage", "data-capture-wheel": "true" }, this.canvas, this.hint, this.message, this.chips);
    this.context = this.canvas.getContext("2d");
    this.pointers = new Map();
    this.keys = new Keys(this);
    this.painter = new Painter(this);
    this.hover = null;
    this.background = null;
    this.listen();
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.element);
  }

  listen() {
    const on = (kind, run, options) => this.canvas.addEventListener(kind, run.bind(this), options);
    on("pointerdown", this.down);
    on("pointermove", this.moved);
    on("pointerup", this.up);
    on("pointercancel", this.cancel);
    on("pointerleave", () => { this.hover = null; this.draw(); });
    on("wheel", this.scrolled, { passive: false });
    on("keydown", (event) => this.keys.pressed(event));
    on("focus", () => this.draw());
    on("blur", () => { this.settle(); this.draw(); });
  }

  remove() {
    this.observer.disconnect();
    clearTimeout(this.pause);
  }

  focus() {
    this.canvas.focus({ preventScroll: true });
  }

  /** Middle button and the space bar move the host's canvas. */
  forHost(event) {
    return event.button === 1 || (event.buttons & 4) !== 0 || Boolean(this.panning?.());
  }

  // --- where things are ---

  /** How many canvas pixels a pixel of the widget has, on this screen and at the host's zoom. */
  density() {
    const shown = this.canvas.getBoundingClientRect().width / (this.canvas.clientWidth || 1);
    return clamp(shown * (window.devicePixelRatio || 1), 1, 4);
  }

  /** Where the picture lies in the canvas, in canvas pixels. */
  rect() {
    const { width, height } = this.canvas;
    const [w, h] = this.poser.size;
    const below = (HINT * height) / (this.canvas.clientHeight || height);
    const [wide, high] = [width * (1 - 2 * MARGIN), height * (1 - MARGIN) - below];
    const factor = Math.min(wide / w, high / h);
    return { x: (width - factor * w) / 2, y: MARGIN * height + (high - factor * h) / 2, width: factor * w, height: factor * h, factor };
  }

  /** Event to pixels of the picture. */
  pixel(event) {
    const shown = this.canvas.getBoundingClientRect();
    const { x, y, factor } = this.rect();
    return [
      (((event.clientX - shown.left) / shown.width) * this.canvas.width - x) / factor,
      (((event.clientY - shown.top) / shown.height) * this.canvas.height - y) / factor,
    ];
  }

  /** A length on the screen in pixels of the picture. */
  onPicture(screen) {
    const shown = this.canvas.getBoundingClientRect();
    return (screen * this.canvas.width) / (shown.width || 1) / this.rect().factor;
  }

  picture() {
    const [width, height] = this.poser.size;
    return { width, height };
  }

  ring() {
    const { hand, model, size } = this.poser;
    const centre = operations.centreOf(model, hand);
    const [x, y] = project(centre, hand.camera, ...size);
    return { x, y, radius: (0.105 * hand.camera.focal * size[0]) / centre[2] };
  }

  /** The dots of the selected hand: what may be pulled. */
  dots() {
    const { hand, model, size } = this.poser;
    const found = [];
    for (let finger = 0; finger < 5; finger++) {
      const points = model.fingerPoints(hand, finger);
      for (let joint = 1; joint <= 3; joint++) {
        found.push({ finger, joint, at: project(points[joint], hand.camera, ...size), depth: points[joint][2] });
      }
    }
    return found;
  }

  dotAt(pixel, kind) {
    if (!this.poser.hand || this.poser.mode === "turn") return null;
    const reach = this.onPicture(REACH[kind] ?? REACH.mouse);
    let [best, nearest] = [null, Infinity];
    for (const dot of this.dots()) {
      const far = Math.hypot(dot.at[0] - pixel[0], dot.at[1] - pixel[1]) * (dot.joint === 3 ? 0.8 : 1);
      if (far < reach && far < nearest) [best, nearest] = [dot, far];
    }
    return best;
  }

  handAt(pixel) {
    const { model, state } = this.poser;
    return handAt(pixel, model, state.hands, this.pose(), this.picture());
  }

  pose() {
    const { model, state } = this.poser;
    return state.hands.map((hand) => model.pose(hand));
  }

  // --- pointers ---

  able() {
    return Boolean(this.poser.model) && !this.poser.broken;
  }

  down(event) {
    if (this.forHost(event) || !this.able()) return;
    event.preventDefault();
    this.focus();
    this.settle();
    try {
      this.canvas.setPointerCapture(event.pointerId);
    } catch { /* a pointer that is gone already, or one made by a script */ }
    const at = this.pixel(event);
    this.pointers.set(event.pointerId, at);
    this.touching = event.pointerType === "touch";
    if (this.pointers.size === 2) this.beginPinch();
    else if (this.pointers.size === 1) this.begin(event, at);
  }

  begin(event, at) {
    const { poser } = this;
    const dot = this.dotAt(at, event.pointerType);
    const hit = this.handAt(at);
    const turning = event.button === 2 || event.shiftKey || poser.mode === "turn";
    if (hit >= 0 && (!dot || turning)) poser.select(hit);
    if (!poser.hand) return;
    const before = copyHand(poser.hand);
    this.drag = { kind: "move", from: at, last: at, before, changed: false };
    if (dot && !turning) {
      poser.joint = { finger: dot.finger, joint: dot.joint };
      const grip = pull(poser.model, poser.hand, dot.finger, dot.joint, ...poser.size);
      Object.assign(this.drag, { kind: "pull", grip, offset: [dot.at[0] - at[0], dot.at[1] - at[1]] });
    } else if (turning || hit < 0) {
      const ring = this.ring();
      const outside = Math.hypot(at[0] - ring.x, at[1] - ring.y) > ring.radius;
      Object.assign(this.drag, { kind: outside && poser.mode === "turn" ? "roll" : "turn", ring });
    } else {
      poser.joint = null;
    }
    poser.refresh();
  }

  moved(event) {
    const at = this.pixel(event);
    if (!this.drag && !this.pinch) return this.look(at, event);
    if (!this.pointers.has(event.pointerId)) return;
    this.pointers.set(event.pointerId, at);
    if (this.pinch) this.pinched();
    else this.dragged(at);
    this.poser.panel.show(null);
    this.draw();
  }

  dragged(at) {
    const { poser, drag } = this;
    const { hand, model, size } = poser;
    const [dx, dy] = [at[0] - drag.last[0], at[1] - drag.last[1]];
    if (!drag.changed && Math.hypot(at[0] - drag.from[0], at[1] - drag.from[1]) < this.onPicture(3)) return;
    drag.changed = true;
    if (drag.kind === "move") operations.move(model, hand, dx, dy, ...size);
    else if (drag.kind === "turn") operations.orbit(model, hand, dx / drag.ring.radius, dy / drag.ring.radius);
    else if (drag.kind === "roll") {
      const angle = (p) => Math.atan2(p[1] - drag.ring.y, p[0] - drag.ring.x);
      operations.roll(model, hand, Math.atan2(Math.sin(angle(at) - angle(drag.last)), Math.cos(angle(at) - angle(drag.last))));
    } else {
      hand.angles = drag.grip.to([at[0] + drag.offset[0], at[1] + drag.offset[1]]);
    }
    operations.keepInFront(hand, model.pose(hand).vertices);
    drag.last = at;
  }

  beginPinch() {
    const { poser } = this;
    if (this.drag) Object.assign(poser.hand, this.drag.before); // the first finger's drag was the pinch's beginning
    this.drag = null;
    if (!poser.hand) return;
    this.pinch = { before: copyHand(poser.hand), last: this.spread(), changed: false };
  }

  spread() {
    const [a, b] = [...this.pointers.values()];
    return { far: Math.hypot(b[0] - a[0], b[1] - a[1]), angle: Math.atan2(b[1] - a[1], b[0] - a[0]), middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] };
  }

  pinched() {
    const { hand, model } = this.poser;
    const { last } = this.pinch;
    const now = this.spread();
    const radius = this.ring().radius;
    operations.grow(model, hand, clamp(now.far / Math.max(last.far, 1), 0.5, 2), model.pose(hand).vertices);
    operations.roll(model, hand, Math.atan2(Math.sin(now.angle - last.angle), Math.cos(now.angle - last.angle)));
    operations.orbit(model, hand, (now.middle[0] - last.middle[0]) / radius, (now.middle[1] - last.middle[1]) / radius);
    operations.keepInFront(hand, model.pose(hand).vertices);
    Object.assign(this.pinch, { last: now, changed: true });
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    const ended = this.pinch ?? this.drag;
    if (!ended || (this.pinch && this.pointers.size === 1)) return;
    if (this.pointers.size) return;
    this.drag = this.pinch = null;
    if (ended.changed) this.poser.commit();
    this.draw();
  }

  cancel(event) {
    this.pointers.delete(event.pointerId);
    this.giveUp();
  }

  /** Put the hand back to where the drag began. */
  giveUp() {
    const ended = this.pinch ?? this.drag;
    this.drag = this.pinch = null;
    if (ended && this.poser.hand) Object.assign(this.poser.hand, ended.before);
    this.poser.refresh();
    return Boolean(ended);
  }

  look(at, event) {
    if (!this.able()) return;
    const dot = this.dotAt(at, event.pointerType);
    const over = dot ? -1 : this.handAt(at);
    this.canvas.style.cursor = dot ? "grab" : this.poser.mode === "turn" || over < 0 ? "crosshair" : "move";
    if (dot?.finger !== this.hover?.finger || dot?.joint !== this.hover?.joint) {
      this.hover = dot;
      this.draw();
    }
  }

  scrolled(event) {
    if (event.ctrlKey || event.metaKey || !this.able() || !this.poser.hand) return;
    event.preventDefault();
    event.stopPropagation();
    const { hand, model } = this.poser;
    const delta = event.deltaMode === 1 ? 30 * (event.deltaY || event.deltaX) : event.deltaY || event.deltaX;
    if (event.shiftKey) operations.roll(model, hand, clamp(delta, -200, 200) * 0.0015);
    else operations.grow(model, hand, Math.exp(-clamp(delta, -300, 300) * 0.0011), model.pose(hand).vertices);
    this.soon();
  }

  /** Count what was done as done when nothing more comes for a while. */
  soon() {
    clearTimeout(this.pause);
    this.waiting = true;
    this.pause = setTimeout(() => this.settle(), PAUSE);
    this.draw();
  }

  settle() {
    clearTimeout(this.pause);
    if (!this.waiting) return;
    this.waiting = false;
    this.poser.commit();
  }

  /** What is taken hold of, in words. */
  where() {
    const { words, hand, selected, state, joint } = this.poser;
    if (!hand) return words.empty;
    const which = words.say("handOf", { n: selected + 1, count: state.hands.length, side: words[hand.side] });
    return joint ? `${which}: ${this.nameOf(joint)}` : which;
  }

  nameOf({ finger, joint }) {
    const { words } = this.poser;
    const part = joint === 3 ? words.tip : words.joint;
    return `${words[FINGERS[finger]]} ${part}`;
  }

  // --- drawing ---

  setBackground(address) {
    if (address === this.address) return;
    this.address = address;
    this.background = null;
    this.draw();
    if (!address) return;
    const picture = new Image();
    picture.onload = () => {
      if (this.address !== address) return;
      this.background = picture;
      this.poser.pictureLoaded?.(picture.naturalWidth, picture.naturalHeight);
      this.draw();
    };
    picture.src = address;
  }

  refresh() {
    const { poser } = this;
    const { words, state } = poser;
    const sentence = poser.message();
    this.message.hidden = !sentence;
    this.message.firstChild.textContent = sentence;
    this.chips.hidden = state.hands.length < 2;
    if (this.chips.childElementCount !== state.hands.length) {
      this.chips.replaceChildren(...state.hands.map((_, i) => {
        const chip = make("button", { type: "button" });
        chip.addEventListener("click", () => poser.select(i));
        return chip;
      }));
    }
    state.hands.forEach((hand, i) => {
      this.chips.children[i].textContent = words.say("hand", { n: i + 1, side: words[hand.side] });
      this.chips.children[i].setAttribute("aria-pressed", String(i === poser.selected));
    });
    this.draw();
  }

  draw() {
    if (this.drawing) return;
    this.drawing = requestAnimationFrame(() => { this.drawing = 0; this.painter.paint(); });
  }

  hintText() {
    const { poser } = this;
    if (poser.message()) return "";
    if (this.hover || poser.joint) return this.nameOf(this.hover ?? poser.joint);
    if (!poser.text && poser.offersHands && !poser.offered) return poser.words.hintRun;
    if (this.touching) return poser.words.hintTouch;
    return poser.mode === "turn" ? poser.words.hintTurn : poser.words.hintMove;
  }
}
