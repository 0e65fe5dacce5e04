// What the node's value holds, and its history. The same text as handrawer/hand/poser.py reads and writes.

export const FORMAT = "handrawer-poser";
export const VERSION = 1;

/** A millionth of a radian or metre is enough, and keeps saved workflows short. */
export const rounded = (value) => Math.round(value * 1e6) / 1e6;
const roundedAll = (values) => values.map(rounded);

/** A text to a state, or null for a text without any (nothing was posed). Throws one sentence for anything else. */
export function parseState(text) {
  if (typeof text !== "string" || !text.trim()) return null;
  let data;
  try {
    data = JSON.parse(text);
  } catch (error) {
    throw new Error(`This is no state of the hand poser: it is not JSON (${error.message}).`);
  }
  if (data?.format !== FORMAT) throw new Error(`This is no state of the hand poser: it has no "format": "${FORMAT}".`);
  if (!Number.isInteger(data.version) || data.version < 1) throw new Error("This state of the hand poser has no version.");
  if (data.version > VERSION) {
    throw new Error(`This state of the hand poser has version ${data.version}, newer than version ${VERSION}: update HanDrawer.`);
  }
  return checked(data);
}

function checked(data) {
  const numbers = (values, count) => Array.isArray(values) && (count === undefined || values.length === count) && values.every(Number.isFinite);
  const fine = data.width >= 1 && data.height >= 1 && Array.isArray(data.hands) && data.hands.every((hand) =>
    ["left", "right"].includes(hand?.side) && numbers(hand.angles, 21) && numbers(hand.orientation, 3)
    && numbers(hand.translation, 3) && numbers(hand.shape)
    && numbers([hand.camera?.focal, hand.camera?.cx, hand.camera?.cy]) && hand.camera.focal > 0);
  if (!fine) throw new Error("This state of the hand poser is damaged.");
  return { width: data.width, height: data.height, hands: data.hands.map(copyHand) };
}

export function copyHand(hand) {
  return {
    model: hand.model ?? "open",
    side: hand.side,
    angles: [...hand.angles],
    orientation: [...hand.orientation],
    translation: [...hand.translation],
    shape: [...hand.shape],
    camera: { focal: hand.camera.focal, cx: hand.camera.cx, cy: hand.camera.cy },
  };
}

export const copyState = (state) => ({ ...state, hands: state.hands.map(copyHand) });

export function dumpState(state) {
  const hands = state.hands.map((hand) => ({
    model: hand.model,
    side: hand.side,
    angles: roundedAll(hand.angles),
    orientation: roundedAll(hand.orientation),
    translation: roundedAll(hand.translation),
    shape: roundedAll(hand.shape),
    camera: { ...hand.camera },
  }));
  return JSON.stringify({ format: FORMAT, version: VERSION, width: state.width, height: state.height, hands });
}

/** The state in a picture of another size: shown as a whole, in the middle, never stretched ("contain"). */
export function placeState(state, width, height) {
  if (state.width === width && state.height === height) return copyState(state);
  const factor = Math.min(width / state.width, height / state.height);
  const [x, y] = [(width - factor * state.width) / 2, (height - factor * state.height) / 2];
  const hands = state.hands.map((hand) => {
    const { focal, cx, cy } = hand.camera;
    const camera = {
      focal: (focal * factor * state.width) / width,
      cx: (cx * factor * state.width + x) / width,
      cy: (cy * factor * state.height + y) / height,
    };
    return { ...copyHand(hand), camera };
  });
  return { width, height, hands };
}

/** A camera for a picture about which nothing is known. */
export const defaultCamera = (width, height) => ({ focal: (1.5 * Math.max(width, height)) / width, cx: 0.5, cy: 0.5 });

/** Undo and redo over texts. */
export class History {
  constructor(limit = 200) {
    this.limit = limit;
    this.reset("");
  }

  reset(text) {
    this.past = [];
    this.future = [];
    this.present = text;
  }

  /** A new present; what had been undone is forgotten. */
  push(text) {
    if (text === this.present) return false;
    this.past.push(this.present);
    if (this.past.length > this.limit) this.past.shift();
    this.present = text;
    this.future = [];
    return true;
  }

  undo() {
    if (!this.past.length) return null;
    this.future.push(this.present);
    this.present = this.past.pop();
    return this.present;
  }

  redo() {
    if (!this.future.length) return null;
    this.past.push(this.present);
    this.present = this.future.pop();
    return this.present;
  }
}
