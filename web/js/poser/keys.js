// The keyboard on the stage.
import { project } from "./model.js";
import * as operations from "./operations.js";
import { pull } from "./solve.js";

export class Keys {
  constructor(stage) {
    this.stage = stage;
  }

  /** A key on the stage. */
  pressed(event) {
    const { poser } = this.stage;
    if (!this.stage.able() || event.altKey) return;
    if ((event.ctrlKey || event.metaKey)) {
      this.stage.settle();
      if (poser.undoKey(event)) event.preventDefault();
      return;
    }
    if (this.command(event)) event.preventDefault();
  }

  command(event) {
    const { poser } = this.stage;
    const { model, hand } = poser;
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const key = event.key.toLowerCase();
    if (key === "escape") return this.stage.giveUp() || this.leaveJoint();
    if (key === "tab") return this.next(event.shiftKey ? -1 : 1);
    if (key === "a") { poser.addHand(); return true; }
    if (!hand) return false;
    if (arrow) this.step(arrow, event.shiftKey);
    else if (key === "+" || key === "=") operations.grow(model, hand, 1.03, model.pose(hand).vertices);
    else if (key === "-" || key === "_") operations.grow(model, hand, 1 / 1.03, model.pose(hand).vertices);
    else if (key === "[") operations.roll(model, hand, -Math.PI / 60);
    else if (key === "]") operations.roll(model, hand, Math.PI / 60);
    else if (key === "m") { this.stage.settle(); poser.edit((h) => operations.mirror(model, h)); return true; }
    else if (key === "delete" || key === "backspace") { this.stage.settle(); poser.removeHand(); return true; }
    else return false;
    operations.keepInFront(hand, model.pose(hand).vertices);
    poser.panel.show(null);
    this.stage.soon();
    return true;
  }

  step([x, y], turning) {
    const { hand, model, size, joint } = this.stage.poser;
    const far = 0.01 * Math.min(...size);
    if (turning) return operations.orbit(model, hand, (x * Math.PI) / 36, (y * Math.PI) / 36);
    if (!joint) return operations.move(model, hand, x * far, y * far, ...size);
    const at = project(model.fingerPoints(hand, joint.finger)[joint.joint], hand.camera, ...size);
    const grip = pull(model, hand, joint.finger, joint.joint, ...size);
    hand.angles = grip.to([at[0] + 1.5 * x * far, at[1] + 1.5 * y * far]);
  }

  leaveJoint() {
    if (!this.stage.poser.joint) return false;
    this.stage.poser.joint = null;
    this.stage.poser.refresh();
    return true;
  }

  /** Hand, its fingertips, the next hand, ...; after the last the focus goes on. */
  next(step) {
    const { poser } = this.stage;
    const places = poser.state.hands.flatMap((_, hand) => [null, 0, 1, 2, 3, 4].map((finger) => ({ hand, finger })));
    const now = places.findIndex(({ hand, finger }) => hand === poser.selected && finger === (poser.joint?.finger ?? null));
    const found = places[now + step];
    if (!found || now < 0) return false;
    this.stage.settle();
    poser.selected = found.hand;
    poser.joint = found.finger === null ? null : { finger: found.finger, joint: 3 };
    poser.refresh();
    poser.say(this.stage.where());
    return true;
  }
}
