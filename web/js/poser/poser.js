// The widget: a toolbar, the stage on which hands are posed, sliders, and the list of named poses.
import { make } from "./dom.js";
import { icon } from "./icons.js";
import { Gallery } from "./gallery.js";
import * as operations from "./operations.js";
import { Panel } from "./panel.js";
import { Stage } from "./stage.js";
import { History, copyHand, copyState, dumpState, parseState, placeState } from "./state.js";
import { addStyle } from "./style.js";
import { wordsOf } from "./words.js";

const LOOKS = ["shaded", "glass", "depth", "mask"];
const MOST_HANDS = 20;

export class Poser {
  /**
   * @param options `loadModel()`, `loadGestures()`: promises; `changed(text)`: the value has changed by hand;
   *   `keepPose(state, hand, name)`: a promise of the name that the pose was kept under, may be missing; `locale`; `settings`: a plain object that is kept with the node (panel open, look)
   */
  constructor({ loadModel, loadGestures, keepPose, changed, locale, settings = {} }) {
    Object.assign(this, { loadGestures, keepPose, changed, settings });
    this.words = wordsOf(locale);
    this.history = new History();
    this.size = [512, 512];
    this.state = { width: 512, height: 512, hands: [] };
    this.selected = 0;
    this.joint = null; // {finger, joint} that the keyboard pulls
    this.mode = "move";
    this.text = "";
    this.offered = null; // state of the connected hands, after a run
    this.build();
    this.ready = loadModel().then((model) => {
      this.model = model;
      this.read(this.text);
    }, (error) => this.complain(this.words.say("failed", { why: error.message })));
  }

  build() {
    addStyle();
    const { words } = this;
    this.element = make("div", { className: "handrawer-poser" });
    this.stage = new Stage(this);
    this.panel = new Panel(this);
    this.gallery = new Gallery(this);
    this.buttons = {};
    const button = (name, run, label = "") => {
      const made = make("button", { type: "button", title: words[`${name}Tip`] ?? words[name], innerHTML: icon(name) });
      made.setAttribute("aria-label", words[name]);
      if (label) made.append(label);
      made.addEventListener("click", () => { run(); this.refresh(); });
      this.buttons[name] = made;
      return made;
    };
    const gap = () => make("span", { className: "hp-gap" });
    this.bar = make("div", { className: "hp-bar", role: "toolbar", "aria-label": words.stage.split(".")[0] },
      button("poses", () => this.gallery.open(), words.poses), gap(),
      button("move", () => { this.mode = "move"; }), button("turn", () => { this.mode = "turn"; this.joint = null; }), gap(),
      button("undo", () => this.undo()), button("redo", () => this.redo()), gap(),
      button("mirror", () => this.edit((hand) => operations.mirror(this.model, hand))),
      button("straighten", () => this.edit((hand) => operations.straighten(this.model, hand))),
      button("add", () => this.addHand()), button("remove", () => this.removeHand()), gap(),
      button("look", () => this.nextLook()), button("sliders", () => this.togglePanel()), button("reset", () => this.startAnew()),
      button("take", () => this.take(), words.take));
    this.said = make("div", { className: "hp-said", "aria-live": "polite" });
    this.element.append(this.bar, this.stage.element, this.panel.element, this.gallery.element, this.said);
    this.fenceOff();
    this.refresh();
  }

  /** The node under the widget shall not be dragged, and the host's shortcuts not be triggered, by what is done here. */
  fenceOff() {
    for (const kind of ["pointerdown", "pointermove", "pointerup", "dblclick"]) {
      this.element.addEventListener(kind, (event) => { if (!this.stage.forHost(event)) event.stopPropagation(); });
    }
    this.element.addEventListener("contextmenu", (event) => {
      if (event.target.tagName === "INPUT" && event.target.type !== "range") return;
      event.preventDefault();
      event.stopPropagation();
    });
    this.element.addEventListener("keydown", (event) => {
      if (event.target.tagName === "INPUT" && this.undoKey(event)) event.preventDefault();
      const forHost = (event.ctrlKey || event.metaKey) && !["z", "y"].includes(event.key.toLowerCase());
      if (!forHost) event.stopPropagation();
    });
  }

  undoKey(event) {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || event.target.type === "search") return false;
    const key = event.key.toLowerCase();
    if (key === "z" && !event.shiftKey) this.undo();
    else if (key === "y" || key === "z") this.redo();
    else return false;
    return true;
  }

  // --- the value ---

  get value() {
    return this.text;
  }

  /** The host gives the value: a workflow was loaded, or the host's own undo was used. */
  set value(text) {
    const given = typeof text === "string" ? text : "";
    if (given === this.text && this.history.present === given) return;
    this.text = given;
    this.history.reset(given);
    this.read(given);
  }

  read(text) {
    if (!this.model) return;
    this.broken = null;
    try {
      this.state = placeState(parseState(text) ?? this.start(), ...this.size);
    } catch (error) {
      this.broken = this.words.say("unreadable", { why: error.message });
      this.state = { width: this.size[0], height: this.size[1], hands: [] };
    }
    this.selected = Math.min(this.selected, Math.max(this.state.hands.length - 1, 0));
    if (!this.state.hands.length) this.joint = null;
    this.refresh();
  }

  /** What is shown as long as nothing was posed: the connected hands, or one relaxed right hand. */
  start() {
    return copyState(this.offered ?? parseState(JSON.stringify(this.model.data.start)));
  }

  /** Keep what was done: one step of the history, and the node's value. */
  commit() {
    const text = dumpState(this.state);
    if (!this.history.push(text)) return;
    this.text = text;
    this.state = parseState(text); // what is shown is what is kept, to the last digit
    this.touched = true;
    this.refresh();
    this.changed(text);
  }

  undo() {
    this.go(this.history.undo());
  }

  redo() {
    this.go(this.history.redo());
  }

  go(text) {
    if (text === null) return;
    this.text = text;
    this.read(text);
    this.changed(text);
  }

  // --- what the host tells ---

  /** The picture's size in pixels. What was posed is shown in it as a whole; it is changed only when it is edited. */
  setSize(width, height) {
    if (this.size[0] === width && this.size[1] === height) return;
    this.size = [width, height];
    this.read(this.text);
  }

  /** A picture to show behind the hands: its address, or null. */
  setBackground(address) {
    this.stage.setBackground(address);
  }

  /** The connected hands as a state's text, or null. */
  setOffered(text) {
    this.offered = text ? parseState(text) : null;
    if (!this.text) this.read("");
    this.refresh();
  }

  // --- commands ---

  get hand() {
    return this.state.hands[this.selected];
  }

  /** Change the selected hand and keep it. */
  edit(change) {
    if (!this.hand) return;
    change(this.hand);
    operations.keepInFront(this.hand, this.model.pose(this.hand).vertices);
    this.commit();
  }

  select(place) {
    if (place === this.selected) return;
    this.selected = place;
    this.joint = null;
    this.refresh();
  }

  addHand() {
    if (!this.model || this.broken || this.state.hands.length >= MOST_HANDS) return;
    const { hands } = this.state;
    const fresh = placeState(parseState(JSON.stringify(this.model.data.start)), ...this.size).hands[0];
    const made = this.hand ? copyHand(this.hand) : fresh;
    if (this.hand) { // the pair's other hand, beside it
      operations.mirror(this.model, made);
      const aside = (made.side === "left" ? -0.3 : 0.3) * this.size[0];
      operations.move(this.model, made, aside, 0, ...this.size);
    }
    hands.push(made);
    this.selected = hands.length - 1;
    this.joint = null;
    this.commit();
  }

  removeHand() {
    if (!this.hand) return;
    this.state.hands.splice(this.selected, 1);
    this.selected = Math.max(0, Math.min(this.selected, this.state.hands.length - 1));
    this.joint = null;
    this.commit();
  }

  startAnew() {
    if (!this.model) return;
    this.broken = null;
    this.state = placeState(this.start(), ...this.size);
    this.selected = 0;
    this.joint = null;
    this.commit();
  }

  take() {
    if (!this.offered) return;
    this.state = placeState(this.offered, ...this.size);
    this.selected = 0;
    this.joint = null;
    this.commit();
  }

  /** Give the hand a named pose; `turned` shows it as it is seen best, too. */
  applyPose(gesture, turned) {
    this.edit((hand) => {
      hand.angles = this.model.clampAngles(gesture.angles);
      if (turned) operations.face(this.model, hand, gesture.orientation);
    });
  }

  nextLook() {
    this.settings.look = LOOKS[(LOOKS.indexOf(this.look) + 1) % LOOKS.length];
  }

  get look() {
    return LOOKS.includes(this.settings.look) ? this.settings.look : "shaded";
  }

  togglePanel() {
    this.settings.sliders = !this.settings.sliders;
  }

  // --- what is shown ---

  complain(sentence) {
    this.broken = sentence;
    this.refresh();
  }

  /** For those who hear the page. */
  say(sentence) {
    this.said.textContent = sentence;
  }

  sideOf(hand) {
    return this.words[hand.side];
  }

  message() {
    if (this.broken) return this.broken;
    if (!this.model) return this.words.loading;
    return this.state.hands.length ? "" : this.words.empty;
  }

  refresh() {
    const { buttons, history, words } = this;
    const able = Boolean(this.model) && !this.broken;
    for (const mode of ["move", "turn"]) buttons[mode].setAttribute("aria-pressed", String(this.mode === mode));
    buttons.undo.disabled = !history.past.length;
    buttons.redo.disabled = !history.future.length;
    for (const name of ["mirror", "straighten", "remove", "poses"]) buttons[name].disabled = !able || !this.hand;
    buttons.add.disabled = !able || this.state.hands.length >= MOST_HANDS;
    buttons.reset.disabled = !this.model;
    buttons.take.disabled = !this.offered;
    buttons.take.title = this.offered ? words.takeTip : words.takeNone;
    buttons.take.hidden = !this.offersHands && !this.offered;
    buttons.sliders.setAttribute("aria-pressed", String(Boolean(this.settings.sliders)));
    buttons.look.setAttribute("aria-pressed", String(this.look !== "shaded"));
    this.panel.refresh();
    this.stage.refresh();
  }

  /** Whether hands are connected, so that there is something to take. */
  setConnected(hands) {
    this.offersHands = hands;
    if (!hands && this.offered) this.setOffered(null);
    this.refresh();
  }

  remove() {
    this.stage.remove();
  }
}
