// The hand poser's mathematics, against what the library gave (a file named by HANDRAWER_POSER_CASES).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { axisAngleToMatrix, matrixToAxisAngle } from "../../web/js/poser/maths.js";
import { HandModel, anglesBefore, anglesOfFinger, project, unproject } from "../../web/js/poser/model.js";
import * as operations from "../../web/js/poser/operations.js";
import { pull } from "../../web/js/poser/solve.js";
import { History, copyHand, dumpState, parseState, placeState } from "../../web/js/poser/state.js";
import { describe, found, tagsOf, titleOf } from "../../web/js/poser/titles.js";
import { KEYS, LANGUAGES, table, wordsOf } from "../../web/js/poser/words.js";

const cases = JSON.parse(readFileSync(process.env.HANDRAWER_POSER_CASES, "utf8"));
const model = new HandModel(cases.model);
const start = () => copyHand(cases.model.start.hands[0]);
const [WIDTH, HEIGHT] = [512, 512];

function farthest(a, b) {
  let most = 0;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i] - b[i]));
  return most;
}

const within = (angles) => angles.every((a, i) => a >= model.limits[i][0] - 1e-9 && a <= model.limits[i][1] + 1e-9);

test("hands are posed as the library poses them, to a hundredth of a millimetre", () => {
  assert.ok(cases.posed.length >= 6);
  for (const { hand, vertices, joints, projected, width, height } of cases.posed) {
    const posed = model.pose(hand);
    assert.ok(farthest(posed.vertices, vertices.flat()) < 1e-5, `${farthest(posed.vertices, vertices.flat())}`);
    assert.ok(farthest(posed.joints.flat(), joints.flat()) < 1e-5);
    const pixels = posed.joints.flatMap((joint) => project(joint, hand.camera, width, height));
    assert.ok(farthest(pixels, projected.flat()) < 0.02, "pixels");
    for (let finger = 0; finger < 5; finger++) {
      const points = model.fingerPoints(hand, finger).flat();
      assert.ok(farthest(points, joints.slice(1 + 4 * finger, 5 + 4 * finger).flat()) < 1e-5, "a finger alone");
    }
  }
});

test("normals point out of the hand on both sides", () => {
  for (const { hand } of cases.posed) {
    const { vertices, normals } = model.pose(hand);
    const middle = [0, 1, 2].map((k) => vertices.reduce((sum, v, i) => (i % 3 === k ? sum + v : sum), 0) / model.vertexCount);
    let outward = 0;
    for (let i = 0; i < vertices.length; i += 3) {
      outward += [0, 1, 2].reduce((sum, k) => sum + normals[i + k] * (vertices[i + k] - middle[k]), 0) > 0 ? 1 : -1;
    }
    assert.ok(outward > 0.3 * model.vertexCount);
  }
});

test("rotations go to vectors and back", () => {
  for (const vector of [[0, 0, 0], [1e-9, 0, 0], [0.3, -1.2, 2.0], [Math.PI, 0, 0], [0, -3.1, 0.2]]) {
    const matrix = axisAngleToMatrix(vector);
    assert.ok(farthest(axisAngleToMatrix(matrixToAxisAngle(matrix)), matrix) < 1e-9);
  }
});

test("a state goes to text and back without loss, and text of the library is read", () => {
  const state = parseState(cases.state);
  assert.deepEqual(JSON.parse(dumpState(state)), JSON.parse(cases.state));
  assert.equal(dumpState(parseState(dumpState(state))), dumpState(state));
  assert.equal(parseState(""), null);
  const broken = JSON.parse(cases.state);
  broken.hands[0].angles.pop();
  for (const text of ["{", "{}", JSON.stringify({ ...broken }), JSON.stringify({ ...broken, version: 99 })]) {
    assert.throws(() => parseState(text), /state of the hand poser/);
  }
});

test("hands on a picture of another size lie where the library puts them", () => {
  for (const { width, height, cameras } of cases.placed) {
    const placed = placeState(parseState(cases.state), width, height);
    placed.hands.forEach((hand, i) => {
      assert.ok(farthest([hand.camera.focal, hand.camera.cx, hand.camera.cy], cameras[i]) < 1e-9);
    });
  }
});

test("undo and redo", () => {
  const history = new History(3);
  history.reset("a");
  for (const text of ["b", "b", "c"]) history.push(text);
  assert.equal(history.undo(), "b");
  assert.equal(history.undo(), "a");
  assert.equal(history.undo(), null);
  assert.equal(history.redo(), "b");
  history.push("d");
  assert.equal(history.redo(), null);
  assert.equal(history.undo(), "b");
});

test("a pulled fingertip arrives where a finger can reach, and every angle keeps its limits", () => {
  let worst = 0;
  for (const { hand, finger, angles } of cases.reachable) { // the place that other possible angles give
    const there = project(model.fingerPoints(hand, finger, angles)[3], hand.camera, WIDTH, HEIGHT);
    const found = pull(model, hand, finger, 3, WIDTH, HEIGHT).to(there);
    assert.ok(within(found));
    anglesOfFinger(finger).length; // the others stay
    found.forEach((a, i) => { if (!anglesOfFinger(finger).includes(i)) assert.equal(a, hand.angles[i]); });
    const reached = project(model.fingerPoints(hand, finger, found)[3], hand.camera, WIDTH, HEIGHT);
    worst = Math.max(worst, Math.hypot(reached[0] - there[0], reached[1] - there[1]));
  }
  console.log(`fingertips miss by at most ${worst.toFixed(2)} of ${WIDTH} pixels`);
  assert.ok(worst < 8, `${worst}`);
});

test("a straight finger that is pulled to the palm curls instead of staying stiff", () => {
  const hand = start();
  hand.angles = hand.angles.map((a, i) => (anglesOfFinger(1).includes(i) ? 0.02 : a));
  const points = model.fingerPoints(hand, 1);
  const target = project(points[0], hand.camera, WIDTH, HEIGHT); // its own knuckle
  const grip = pull(model, hand, 1, 3, WIDTH, HEIGHT);
  const from = project(points[3], hand.camera, WIDTH, HEIGHT);
  for (let i = 1; i <= 30; i++) {
    const share = i / 30;
    grip.to([from[0] + share * (target[0] - from[0]), from[1] + share * (target[1] - from[1])]);
  }
  hand.angles = grip.angles;
  assert.ok(operations.curlOf(hand, 1) > 0.4, `${operations.curlOf(hand, 1)}`);
});

test("a finger that is pulled far away stretches towards it and stays possible", () => {
  for (let finger = 0; finger < 5; finger++) {
    for (const joint of [2, 3]) {
      for (const target of [[-2000, 256], [3000, -900], [256, 4000]]) {
        const found = pull(model, start(), finger, joint, WIDTH, HEIGHT).to(target);
        assert.ok(within(found));
        const free = anglesBefore(finger, joint);
        found.forEach((a, i) => { if (!free.includes(i)) assert.equal(a, start().angles[i]); });
      }
    }
  }
});

test("small pulls make small changes", () => {
  const hand = start();
  const grip = pull(model, hand, 2, 3, WIDTH, HEIGHT);
  const [x, y] = project(model.fingerPoints(hand, 2)[3], hand.camera, WIDTH, HEIGHT);
  let before = grip.angles;
  for (let i = 0; i < 60; i++) {
    const now = grip.to([x + 0.2 * i, y + i]);
    assert.ok(farthest(now, before) < 0.35, `step ${i}: ${farthest(now, before)}`);
    before = now;
  }
});

test("sliders set what they show, within the limits", () => {
  for (let finger = 0; finger < 5; finger++) {
    for (const share of [0, 0.2, 0.55, 1]) {
      const hand = start();
      operations.setCurl(model, hand, finger, share);
      assert.ok(within(hand.angles));
      assert.ok(Math.abs(operations.curlOf(hand, finger) - share) < 0.02, `curl ${finger} ${share}`);
      operations.setSpread(model, hand, finger, share);
      assert.ok(within(hand.angles));
      assert.ok(Math.abs(operations.spreadOf(model, hand, finger) - share) < 1e-6);
    }
  }
});

test("moving, growing, turning and mirroring keep the middle where it should be", () => {
  const middle = (hand) => project(operations.centreOf(model, hand), hand.camera, WIDTH, HEIGHT);
  const hand = start();
  const at = middle(hand);
  operations.move(model, hand, 40, -25, WIDTH, HEIGHT);
  assert.ok(farthest(middle(hand), [at[0] + 40, at[1] - 25]) < 1e-6);
  const held = middle(hand);
  operations.grow(model, hand, 1.5, model.pose(hand).vertices);
  operations.orbit(model, hand, 0.5, -0.3);
  operations.roll(model, hand, 0.4);
  assert.ok(farthest(middle(hand), held) < 1e-6);
  operations.mirror(model, hand);
  assert.equal(hand.side, "left");
  assert.ok(farthest(middle(hand), held) < 1e-6);
  operations.grow(model, hand, 1000, model.pose(hand).vertices);
  const depths = model.pose(hand).vertices.filter((_, i) => i % 3 === 2);
  assert.ok(Math.min(...depths) >= operations.NEAREST - 1e-3, "never behind the camera");
  assert.ok(farthest(unproject(project([0.1, 0.2, 0.7], hand.camera, 300, 200), 0.7, hand.camera, 300, 200), [0.1, 0.2, 0.7]) < 1e-9);
});

test("a mirrored hand is the mirror image about its middle", () => {
  const hand = start();
  const other = copyHand(hand);
  operations.mirror(model, other);
  const axis = operations.centreOf(model, hand)[0];
  const [a, b] = [model.pose(hand).vertices, model.pose(other).vertices];
  let most = 0;
  for (let i = 0; i < a.length; i += 3) most = Math.max(most, Math.abs(2 * axis - a[i] - b[i]), Math.abs(a[i + 1] - b[i + 1]), Math.abs(a[i + 2] - b[i + 2]));
  assert.ok(most < 1e-6, `${most}`);
});

test("the widget speaks every language in its own script", () => {
  const scripts = { ja: /[\u3040-\u30ff\u4e00-\u9fff]/, zh: /[\u4e00-\u9fff]/ };
  assert.deepEqual(LANGUAGES, ["en", "ja", "zh"]);
  for (const language of LANGUAGES) {
    const words = table(language);
    assert.deepEqual(Object.keys(words).sort(), [...KEYS].sort(), language);
    for (const key of KEYS) {
      const places = (text) => (text.match(/\{\w+\}/g) ?? []).sort().join();
      assert.equal(places(words[key]), places(table("en")[key]), `${language} ${key}`);
      const plain = words[key].replace(/\{\w+\}/g, "");
      if (scripts[language] && /[a-z]/i.test(plain + table("en")[key].replace(/\{\w+\}/g, ""))) {
        assert.ok(key === "unreadable" || scripts[language].test(plain), `${language} ${key}`);
      }
    }
  }
  assert.equal(wordsOf("zh-TW").curl, table("zh").curl);
  assert.equal(wordsOf("fr").curl, table("en").curl);
});

test("poses are called and found in the page's language as the library says", () => {
  for (const [words, names] of Object.entries(cases.searches)) {
    assert.deepEqual(found(cases.poses, words).map(({ name }) => name), names, words);
  }
  const named = (name) => cases.poses.find((pose) => pose.name === name);
  const titles = ["en", "ja", "zh", wordsOf("ja-JP").language, wordsOf("zh-TW").language, wordsOf("fr").language]
    .map((language) => titleOf(named("peace"), language));
  assert.deepEqual(titles, ["Peace sign", "ピースサイン", "比耶", "ピースサイン", "比耶", "Peace sign"]);
  assert.equal(describe(named("fist"), "ja"), "握りこぶし (握り、指文字)");
  const own = { name: "mine", title: "Mine", tags: ["greeting"] };
  assert.deepEqual([titleOf(own, "ja"), tagsOf(own, "ja"), describe({ ...own, tags: [] }, "zh")], ["Mine", ["greeting"], "Mine"]);
});
