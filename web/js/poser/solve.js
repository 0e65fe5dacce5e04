// Pull a finger's joint to a place in the picture: the angles between it and the palm follow, within their limits.
import { clamp } from "./maths.js";
import { anglesBefore, anglesOfFinger, project } from "./model.js";

const METRES = 0.004; // a miss of this size weighs 1
const STAY = 0.35; // weight of a radian away from where the pull began
const TOGETHER = 0.25; // weight of a radian by which neighbouring joints do not bend together
const TIMES = 14;
const BETTER = 0.75; // another bend of the finger is taken if it is this much cheaper

/** How much a finger's joints bend with each other, as differences: [angle, other angle, share]. */
function bonds(finger) {
  if (finger === 0) return [[4, 2, 1.0]];
  const [flexion, , pip, dip] = anglesOfFinger(finger);
  return [[dip, pip, 0.6], [pip, flexion, 1.2]];
}

class Pull {
  constructor(model, hand, finger, joint, width, height) {
    this.model = model;
    this.hand = { ...hand, angles: [...hand.angles] };
    this.size = [width, height];
    this.finger = finger;
    this.joint = joint;
    this.free = anglesBefore(finger, joint);
    this.start = [...hand.angles];
    this.angles = [...hand.angles];
    this.wrist = model.placed(hand);
    this.bonds = bonds(finger).filter(([a, b]) => this.free.includes(a) && this.free.includes(b));
  }

  point(angles) {
    return this.model.fingerPoints(this.hand, this.finger, angles, this.wrist)[this.joint];
  }

  misses(angles, target) {
    const point = this.point(angles);
    const { camera } = this.hand;
    const [x, y] = project(point, camera, ...this.size);
    const metres = point[2] / (camera.focal * this.size[0]);
    const out = [((x - target[0]) * metres) / METRES, ((y - target[1]) * metres) / METRES];
    for (const i of this.free) out.push(STAY * (angles[i] - this.start[i]));
    for (const [a, b, share] of this.bonds) {
      out.push(TOGETHER * (angles[a] - this.start[a] - share * (angles[b] - this.start[b])));
    }
    return out;
  }

  cost(angles, target) {
    return this.misses(angles, target).reduce((sum, miss) => sum + miss * miss, 0);
  }

  /** Levenberg-Marquardt from `angles`; steps that leave a limit end at it. */
  refine(from, target) {
    const { free, model } = this;
    let angles = [...from];
    let misses = this.misses(angles, target);
    let cost = misses.reduce((sum, miss) => sum + miss * miss, 0);
    let damping = 0.1;
    for (let time = 0; time < TIMES; time++) {
      const held = free.map(() => false);
      const slopes = free.map((i) => this.slope(angles, i, misses, target));
      const downhill = slopes.map((slope) => -slope.reduce((sum, value, r) => sum + value * misses[r], 0));
      free.forEach((i, k) => {
        const [low, high] = model.limits[i];
        held[k] = (angles[i] <= low && downhill[k] < 0) || (angles[i] >= high && downhill[k] > 0);
      });
      const step = solveDamped(slopes, downhill, held, damping);
      const moved = [...angles];
      free.forEach((i, k) => { moved[i] = clamp(angles[i] + clamp(step[k], -0.6, 0.6), ...model.limits[i]); });
      const after = this.misses(moved, target);
      const next = after.reduce((sum, miss) => sum + miss * miss, 0);
      if (next < cost) {
        const gain = cost - next;
        [angles, misses, cost] = [moved, after, next];
        damping = Math.max(damping * 0.35, 1e-5);
        if (gain < 1e-7 * (1 + cost)) break;
      } else {
        damping *= 5;
        if (damping > 1e5) break;
      }
    }
    return { angles, cost };
  }

  slope(angles, i, misses, target) {
    const nudge = 1e-5;
    const moved = [...angles];
    moved[i] += nudge;
    return this.misses(moved, target).map((miss, r) => (miss - misses[r]) / nudge);
  }

  /** Other bends of the finger to try from: seen along the line of sight, a bend has no slope to follow. */
  seeds() {
    const flexions = this.free.filter((i) => i !== this.angles.length && !this.sideways(i));
    return [0.1, 0.45, 0.8].map((share) => {
      const angles = [...this.angles];
      for (const i of flexions) {
        const high = this.model.limits[i][1];
        angles[i] = clamp(share * high, ...this.model.limits[i]);
      }
      return angles;
    });
  }

  sideways(i) {
    return this.finger === 0 ? i === 0 || i === 1 || i === 3 : i === anglesOfFinger(this.finger)[1];
  }

  /** The 21 angles with which the joint comes nearest to `target`, pixels of the picture. */
  to(target) {
    let best = this.refine(this.angles, target);
    const again = this.refine(this.start, target);
    if (again.cost < best.cost * BETTER) best = again;
    if (best.cost > 0.05) {
      for (const seed of this.seeds()) {
        const found = this.refine(seed, target);
        if (found.cost < best.cost * BETTER) best = found;
      }
    }
    this.angles = best.angles;
    return best.angles;
  }
}

/** Solves (S S^T + damping * its diagonal) step = downhill over the angles that are not held. */
function solveDamped(slopes, downhill, held, damping) {
  const n = slopes.length;
  const rows = slopes.map((a, i) => {
    const row = slopes.map((b) => a.reduce((sum, value, r) => sum + value * b[r], 0));
    row[i] += damping * (row[i] + 1);
    row.push(downhill[i]);
    return row;
  });
  for (let i = 0; i < n; i++) {
    if (held[i]) rows[i] = rows[i].map((_, j) => (j === i ? 1 : 0));
  }
  for (let i = 0; i < n; i++) {
    let pivot = i;
    for (let j = i + 1; j < n; j++) if (Math.abs(rows[j][i]) > Math.abs(rows[pivot][i])) pivot = j;
    [rows[i], rows[pivot]] = [rows[pivot], rows[i]];
    for (let j = 0; j < n; j++) {
      if (j === i || rows[i][i] === 0) continue;
      const factor = rows[j][i] / rows[i][i];
      for (let k = i; k <= n; k++) rows[j][k] -= factor * rows[i][k];
    }
  }
  return rows.map((row, i) => (row[i] === 0 ? 0 : row[n] / row[i]));
}

/** Take hold of a finger's joint (1 to 3: 3 is the tip): `to(target)` pulls it. */
export function pull(model, hand, finger, joint, width, height) {
  return new Pull(model, hand, finger, joint, width, height);
}
