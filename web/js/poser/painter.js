// Paints the stage: the picture, the hands, what lies outside, and the dots to pull.
import { drawHands } from "./renderer.js";

const DOTS = ["#ff6b6b", "#ffb347", "#ffe66d", "#69d58c", "#6bb6ff"]; // thumb to little finger

export class Painter {
  constructor(stage) {
    this.stage = stage;
  }

  paint() {
    const { canvas, context, poser } = this.stage;
    if (!canvas.clientWidth || !canvas.clientHeight) return;
    const density = this.stage.density();
    const [width, height] = [Math.round(canvas.clientWidth * density), Math.round(canvas.clientHeight * density)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    context.clearRect(0, 0, width, height);
    const rect = this.stage.rect();
    this.paintPicture(rect);
    if (poser.model && poser.state.hands.length) {
      const rims = poser.state.hands.map((_, i) => (i === poser.selected && poser.state.hands.length > 1 ? [1, 1, 1] : null));
      drawHands(context, poser.model, {
        hands: poser.state.hands, posed: this.stage.pose(), picture: this.stage.picture(), rect, rims,
        look: poser.look === "glass" ? "shaded" : poser.look, alpha: poser.look === "glass" ? 0.55 : 1,
      });
    }
    this.paintFrame(rect, density);
    if (poser.hand) this.paintDots(rect, density);
    this.stage.hint.textContent = this.stage.hintText();
  }

  paintPicture(rect) {
    const { context, background, poser } = this.stage;
    const plain = ["depth", "mask"].includes(poser.look); // as the picture that is made of the hands
    context.fillStyle = plain ? "#000" : "#3b3f45";
    context.fillRect(rect.x, rect.y, rect.width, rect.height);
    if (background && !plain) context.drawImage(background, rect.x, rect.y, rect.width, rect.height);
  }

  /** What lies outside the picture is dimmed: it will not be drawn. */
  paintFrame({ x, y, width, height }, density) {
    const { context, canvas } = this.stage;
    context.save();
    context.fillStyle = "rgba(20, 20, 22, 0.45)";
    context.beginPath();
    context.rect(0, 0, canvas.width, canvas.height);
    context.rect(x, y, width, height);
    context.fill("evenodd");
    context.strokeStyle = "rgba(255, 255, 255, 0.35)";
    context.lineWidth = density;
    context.strokeRect(x, y, width, height);
    context.restore();
  }

  paintDots(rect, density) {
    const { context, poser, hover, drag, pinch } = this.stage;
    const place = ([px, py]) => [rect.x + rect.factor * px, rect.y + rect.factor * py];
    if (poser.mode === "turn" || drag?.kind === "turn" || drag?.kind === "roll") this.paintRing(place, density);
    if (poser.mode === "turn" || pinch || (drag && drag.kind !== "pull" && drag.changed)) return;
    const seen = hover ?? poser.joint;
    for (const { finger, joint, at } of this.stage.dots()) {
      const held = seen?.finger === finger && seen?.joint === joint;
      const [x, y] = place(at);
      const radius = (joint === 3 ? 5 : 3.2) * density * (held ? 1.5 : 1);
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fillStyle = DOTS[finger];
      context.globalAlpha = joint === 3 || held ? 0.95 : 0.75;
      context.fill();
      context.globalAlpha = 1;
      context.lineWidth = (held ? 2 : 1.2) * density;
      context.strokeStyle = held ? "#fff" : "rgba(0, 0, 0, 0.65)";
      context.stroke();
    }
  }

  paintRing(place, density) {
    const { context } = this.stage;
    const ring = this.stage.ring();
    const [x, y] = place([ring.x, ring.y]);
    context.beginPath();
    context.arc(x, y, ring.radius * this.stage.rect().factor, 0, 2 * Math.PI);
    for (const [colour, width] of [["rgba(0, 0, 0, 0.5)", 4], ["rgba(255, 255, 255, 0.85)", 1.6]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * density;
      context.stroke();
    }
  }
}
