// What can be done to a hand. Every function changes the hand that it is given; the model knows its limits.
import { add, apply, axisAngleToMatrix, clamp, matrixToAxisAngle, multiply, scale, subtract, turn } from "./maths.js";
import { anglesOfFinger, unproject } from "./model.js";

export const NEAREST = 0.05; // metres from the camera to a hand's nearest point
const FARTHEST = 20;
const DEGREE = Math.PI / 180;

// From straight to wholly curled, in degrees: thumb MCP and IP; the other fingers' MCP, PIP and DIP.
const CURL = { thumb: [[2, -10, 58], [4, -10, 80]], finger: [[0, -8, 88], [2, 0, 105], [3, 0, 66]] };

/** The point about which a hand turns and grows: between wrist and middle knuckle, where the eye sees its middle. */
export function centreOf(model, hand) {
  const middle = model.fingerPoints(hand, 2)[0];
  return add(scale(hand.translation, 0.35), scale(middle, 0.65));
}

/** Move by pixels of the picture, at the hand's own distance. */
export function move(model, hand, dx, dy, width, height) {
  const depth = centreOf(model, hand)[2];
  const step = subtract(unproject([dx, dy], depth, hand.camera, width, height), unproject([0, 0], depth, hand.camera, width, height));
  hand.translation = add(hand.translation, step);
}

/** Grow by a factor: the hand comes nearer along the line of sight of its middle, as far as it may. */
export function grow(model, hand, factor, vertices) {
  const centre = centreOf(model, hand);
  let nearest = Infinity;
  for (let i = 2; i < vertices.length; i += 3) nearest = Math.min(nearest, vertices[i]);
  const least = (NEAREST - nearest + centre[2]) / centre[2];
  const ratio = clamp(1 / factor, Math.min(least, 1), FARTHEST / centre[2]);
  hand.translation = add(hand.translation, scale(centre, ratio - 1));
}

function turnBy(model, hand, rotation) {
  const centre = centreOf(model, hand);
  hand.orientation = matrixToAxisAngle(multiply(rotation, axisAngleToMatrix(hand.orientation)));
  hand.translation = add(centre, apply(rotation, subtract(hand.translation, centre)));
}

/** Turn about the picture's axes, radians: `x` leans the upper side away from the viewer, `y` to the right, `z` rolls
 * clockwise; as if the hand were held in a ball that the pointer rolls. */
export function orbit(model, hand, yaw, pitch) {
  turnBy(model, hand, multiply(turn([0, 1, 0], -yaw), turn([1, 0, 0], pitch)));
}

export function roll(model, hand, angle) {
  turnBy(model, hand, turn([0, 0, 1], angle));
}

/** A hand that was turned so that it would lie (partly) behind the camera is pushed back. */
export function keepInFront(hand, vertices) {
  let nearest = Infinity;
  for (let i = 2; i < vertices.length; i += 3) nearest = Math.min(nearest, vertices[i]);
  if (nearest >= NEAREST) return false;
  hand.translation = add(hand.translation, [0, 0, NEAREST - nearest + 1e-4]);
  return true;
}

/** The other side's hand in its place: as in a mirror that stands on its middle. */
export function mirror(model, hand) {
  const centre = centreOf(model, hand);
  hand.side = hand.side === "left" ? "right" : "left";
  const [x, y, z] = hand.orientation;
  hand.orientation = [x, -y, -z];
  hand.translation = [2 * centre[0] - hand.translation[0], hand.translation[1], hand.translation[2]];
}

/** Turn it to an orientation, a right hand's axis-angle (a left hand is its mirror image), where it is. */
export function face(model, hand, [x, y, z]) {
  const centre = centreOf(model, hand);
  hand.orientation = hand.side === "left" ? [x, -y, -z] : [x, y, z];
  hand.translation = add(hand.translation, subtract(centre, centreOf(model, hand)));
}

/** Upright, palm to the viewer, where it is. */
export const straighten = (model, hand) => face(model, hand, [0, 0, 0]);

function curlParts(finger) {
  const at = anglesOfFinger(finger)[0];
  return (finger === 0 ? CURL.thumb : CURL.finger).map(([i, low, high]) => [at + i, low * DEGREE, high * DEGREE]);
}

/** How far a finger is curled, 0 straight, 1 wholly: the mean over its joints. */
export function curlOf(hand, finger) {
  const parts = curlParts(finger);
  return parts.reduce((sum, [i, low, high]) => sum + clamp((hand.angles[i] - low) / (high - low), 0, 1), 0) / parts.length;
}

/** Curl a finger: all its joints go towards straight or curled, so that the shape it has is kept as far as possible. */
export function setCurl(model, hand, finger, wanted) {
  const parts = curlParts(finger);
  const now = curlOf(hand, finger);
  const angles = [...hand.angles];
  for (const [i, low, high] of parts) {
    const share = clamp((angles[i] - low) / (high - low), 0, 1);
    const next = wanted >= now
      ? share + (1 - share) * (now < 1 ? (wanted - now) / (1 - now) : 0)
      : share * (now > 0 ? wanted / now : 0);
    angles[i] = low + next * (high - low);
  }
  hand.angles = model.clampAngles(angles);
}

// The thumb spreads by moving out of the hand (its flexion, backwards) and opposes by its abduction.
const SPREAD = (finger) => (finger === 0 ? { index: 0, sign: -1 } : { index: anglesOfFinger(finger)[1], sign: 1 });

function shareOfRange(model, hand, { index, sign }) {
  const [low, high] = model.limits[index];
  const share = clamp((hand.angles[index] - low) / (high - low), 0, 1);
  return sign > 0 ? share : 1 - share;
}

function setShareOfRange(model, hand, { index, sign }, share) {
  const [low, high] = model.limits[index];
  hand.angles = hand.angles.map((a, i) => (i === index ? low + (sign > 0 ? share : 1 - share) * (high - low) : a));
}

/** How far a finger is away from the middle finger (the middle finger: towards the thumb), 0 to 1 of its range. */
export const spreadOf = (model, hand, finger) => shareOfRange(model, hand, SPREAD(finger));
export const setSpread = (model, hand, finger, share) => setShareOfRange(model, hand, SPREAD(finger), share);

/** How far the thumb stands out of the palm's plane, 0 to 1 of its range. */
const OPPOSITION = { index: 1, sign: 1 };
export const oppositionOf = (model, hand) => shareOfRange(model, hand, OPPOSITION);
export const setOpposition = (model, hand, share) => setShareOfRange(model, hand, OPPOSITION, share);
