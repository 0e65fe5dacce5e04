// The hand model in the page: the same mathematics as handrawer/hand/anatomy.py and handrawer/hand/skinning.py.
import { add, apply, axisAngleToMatrix, clamp, multiply, subtract, turn } from "./maths.js";

const FINGERS = 5;
const BONES = 3;

function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed.data), (c) => c.charCodeAt(0));
  return packed.type === "float32" ? new Float32Array(bytes.buffer) : new Uint16Array(bytes.buffer);
}

const rowOf = (array, i) => [array[3 * i], array[3 * i + 1], array[3 * i + 2]];

/** Angles of a finger in the list of 21: [flexion, abduction, ...] from its base to its tip. */
export function anglesOfFinger(finger) {
  return finger === 0 ? [0, 1, 2, 3, 4] : [0, 1, 2, 3].map((i) => 5 + 4 * (finger - 1) + i);
}

/** Angles that move a finger's joint (0 base, 3 tip): those between it and the palm. */
export function anglesBefore(finger, joint) {
  const counts = finger === 0 ? [0, 2, 4, 5] : [0, 2, 3, 4];
  return anglesOfFinger(finger).slice(0, counts[joint]);
}

export class HandModel {
  /** @param data what the host serves at /handrawer/poser/model */
  constructor(data) {
    this.data = data;
    this.template = unpack(data.template);
    this.faces = unpack(data.faces);
    this.shapeDirs = unpack(data.shape_dirs);
    this.jointTemplate = unpack(data.joint_template);
    this.jointShapeDirs = unpack(data.joint_shape_dirs);
    this.weightJoints = unpack(data.weight_joints);
    this.weights = unpack(data.weights);
    this.shapeCount = data.shape_names.length;
    this.vertexCount = data.template.shape[0];
    this.perVertex = data.weights.shape[1];
    this.limits = data.limits;
    this.axes = data.axes;
    this.unrest = data.axes.unrest.map((m) => m.flat());
    this.nails = new Float32Array(this.vertexCount);
    for (const vertex of data.nails) this.nails[vertex] = 1;
    this.shaped = { key: null };
  }

  clampAngles(angles) {
    return angles.map((angle, i) => clamp(angle, this.limits[i][0], this.limits[i][1]));
  }

  /** The two-axis joint `place` (0 thumb CMC, 1 thumb MCP, 2.. knuckles) of rig joint `joint` (of the 15). */
  saddle(place, joint, flexion, abduction) {
    const { axes } = this;
    let turned = multiply(turn(axes.flexion[joint], flexion), turn(axes.abduction[joint], abduction));
    if (place === 0) {
      const pronation = axes.pronation[0] * flexion + axes.pronation[1] * abduction;
      turned = multiply(turned, turn(axes.bone[0], pronation));
    }
    return multiply(turned, this.unrest[place]);
  }

  hinge(joint, angle, index) {
    return turn(this.axes.flexion[joint], angle - this.axes.rest[index]);
  }

  /** The three joint rotations of a finger, base to tip, from all 21 angles. */
  fingerRotations(finger, angles) {
    const first = BONES * finger;
    if (finger === 0) {
      return [
        this.saddle(0, 0, angles[0], angles[1]),
        this.saddle(1, 1, angles[2], angles[3]),
        this.hinge(2, angles[4], 4),
      ];
    }
    const at = 5 + 4 * (finger - 1);
    return [
      this.saddle(finger + 1, first, angles[at], angles[at + 1]),
      this.hinge(first + 1, angles[at + 2], at + 2),
      this.hinge(first + 2, angles[at + 3], at + 3),
    ];
  }

  /** Vertices and joints before they turn, kept for the shape that was asked for last. */
  atRest(shape) {
    const key = shape.join();
    if (this.shaped.key === key) return this.shaped;
    const count = this.shapeCount;
    const blend = (base, directions) => {
      const out = Float64Array.from(base);
      for (let i = 0; i < out.length; i++) {
        for (let s = 0; s < count; s++) out[i] += directions[count * i + s] * shape[s];
      }
      return out;
    };
    this.shaped = {
      key,
      vertices: blend(this.template, this.shapeDirs),
      joints: blend(this.jointTemplate, this.jointShapeDirs),
    };
    return this.shaped;
  }

  /** A hand's frame: its orientation with the mirror of a left hand in it. */
  placed(hand) {
    const turned = axisAngleToMatrix(hand.orientation);
    return hand.side === "left" ? turned.map((value, i) => (i % 3 === 0 ? -value : value)) : turned;
  }

  /** Four points of a finger in the camera frame, base to tip, metres. */
  fingerPoints(hand, finger, angles = hand.angles, wrist = this.placed(hand)) {
    const { joints, vertices } = this.atRest(hand.shape);
    const rotations = this.fingerRotations(finger, angles);
    let turned = wrist;
    let point = hand.translation;
    let before = rowOf(joints, 0);
    const points = [];
    for (let bone = 0; bone < BONES; bone++) {
      const rest = rowOf(joints, 1 + BONES * finger + bone);
      point = add(point, apply(turned, subtract(rest, before)));
      points.push(point);
      turned = multiply(turned, rotations[bone]);
      before = rest;
    }
    const tip = rowOf(vertices, this.data.tip_vertices[finger]);
    points.push(add(point, apply(turned, subtract(tip, before))));
    return points;
  }

  /** Pose a hand: `vertices` (flat, camera frame, metres), `joints` [21] and `normals` (flat). */
  pose(hand) {
    const rest = this.atRest(hand.shape);
    const wrist = this.placed(hand);
    const turned = [wrist];
    const joints = [[0, 0, 0]];
    const root = rowOf(rest.joints, 0);
    for (let finger = 0; finger < FINGERS; finger++) {
      const rotations = this.fingerRotations(finger, hand.angles);
      let carrier = wrist;
      let before = root;
      let point = [0, 0, 0];
      for (let bone = 0; bone < BONES; bone++) {
        const here = rowOf(rest.joints, 1 + BONES * finger + bone);
        point = add(point, apply(carrier, subtract(here, before)));
        carrier = multiply(carrier, rotations[bone]);
        turned.push(carrier);
        joints.push(point);
        before = here;
      }
    }
    const shifts = turned.map((m, i) => subtract(joints[i], apply(m, rowOf(rest.joints, i))));
    const vertices = this.blend(rest.vertices, turned, shifts, hand.translation);
    const all = [add(joints[0], hand.translation)];
    for (let finger = 0; finger < FINGERS; finger++) {
      for (let bone = 0; bone < BONES; bone++) all.push(add(joints[1 + BONES * finger + bone], hand.translation));
      all.push(rowOf(vertices, this.data.tip_vertices[finger]));
    }
    return { vertices, joints: all, normals: this.normals(vertices, hand.side === "left") };
  }

  blend(rest, turned, shifts, place) {
    const motion = new Float64Array(12 * turned.length);
    turned.forEach((m, j) => {
      for (let i = 0; i < 9; i++) motion[12 * j + i] = m[i];
      for (let i = 0; i < 3; i++) motion[12 * j + 9 + i] = shifts[j][i];
    });
    const out = new Float32Array(rest.length);
    const mixed = new Float64Array(12);
    for (let v = 0; v < this.vertexCount; v++) {
      mixed.fill(0);
      let total = 0;
      for (let k = 0; k < this.perVertex; k++) {
        const weight = this.weights[this.perVertex * v + k];
        if (weight === 0) continue;
        total += weight;
        const from = 12 * this.weightJoints[this.perVertex * v + k];
        for (let i = 0; i < 12; i++) mixed[i] += weight * motion[from + i];
      }
      const [x, y, z] = [rest[3 * v], rest[3 * v + 1], rest[3 * v + 2]];
      for (let i = 0; i < 3; i++) {
        const sum = mixed[3 * i] * x + mixed[3 * i + 1] * y + mixed[3 * i + 2] * z + mixed[9 + i];
        out[3 * v + i] = sum / total + place[i];
      }
    }
    return out;
  }

  /** Unit vertex normals out of the hand, larger faces counting more. */
  normals(vertices, mirrored) {
    const out = new Float32Array(vertices.length);
    const { faces } = this;
    const sign = mirrored ? -1 : 1;
    for (let f = 0; f < faces.length; f += 3) {
      const [a, b, c] = [3 * faces[f], 3 * faces[f + 1], 3 * faces[f + 2]];
      const [ux, uy, uz] = [vertices[b] - vertices[a], vertices[b + 1] - vertices[a + 1], vertices[b + 2] - vertices[a + 2]];
      const [wx, wy, wz] = [vertices[c] - vertices[a], vertices[c + 1] - vertices[a + 1], vertices[c + 2] - vertices[a + 2]];
      const n = [sign * (uy * wz - uz * wy), sign * (uz * wx - ux * wz), sign * (ux * wy - uy * wx)];
      for (const at of [a, b, c]) for (let i = 0; i < 3; i++) out[at + i] += n[i];
    }
    for (let v = 0; v < out.length; v += 3) {
      const size = Math.hypot(out[v], out[v + 1], out[v + 2]) || 1;
      for (let i = 0; i < 3; i++) out[v + i] /= size;
    }
    return out;
  }
}

/** Camera-frame point to pixels of a picture `width` x `height`; the same as handrawer/hand/camera.py. */
export function project(point, camera, width, height) {
  return [
    (camera.focal * point[0] * width) / point[2] + camera.cx * width,
    (camera.focal * point[1] * width) / point[2] + camera.cy * height,
  ];
}

/** Pixels at a depth in metres to the camera frame. */
export function unproject(pixel, depth, camera, width, height) {
  return [
    ((pixel[0] - camera.cx * width) * depth) / (camera.focal * width),
    ((pixel[1] - camera.cy * height) * depth) / (camera.focal * width),
    depth,
  ];
}

