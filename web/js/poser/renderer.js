// Draws hands with one WebGL context for the whole page (browsers allow a few only); without WebGL with a plain canvas.
import { project } from "./model.js";

const VERTEX = `#version 300 es
in vec3 position; in vec3 normal; in float nail;
uniform vec4 camera;  // focal in picture widths, cx, cy, width / height
uniform vec4 place;   // the picture's scale and offset in the canvas, in device coordinates
out vec3 vNormal; out vec3 vPosition; out float vNail;
const float NEAR = 0.02, FAR = 40.0;
void main() {
  float z = position.z;
  vec2 at = vec2(2.0 * (camera.x * position.x + camera.y * z) - z,
                 z - 2.0 * (camera.x * camera.w * position.y + camera.z * z));
  gl_Position = vec4(at * place.xy + place.zw * z, (FAR + NEAR) / (FAR - NEAR) * z - 2.0 * FAR * NEAR / (FAR - NEAR), z);
  vNormal = normal; vPosition = position; vNail = nail;
}`;

const FRAGMENT = `#version 300 es
precision highp float;
in vec3 vNormal; in vec3 vPosition; in float vNail;
uniform vec3 colour; uniform vec3 rim; uniform int look; uniform vec2 depths;
out vec4 result;
void main() {
  if (look == 1) { result = vec4(1.0); return; }
  if (look == 2) {
    float near = 1.0 / depths.x, far = 1.0 / depths.y;
    float share = near - far < 1e-9 ? 1.0 : (1.0 / vPosition.z - far) / (near - far);
    result = vec4(vec3(mix(0.2, 1.0, clamp(share, 0.0, 1.0))), 1.0);
    return;
  }
  vec3 n = normalize(vNormal), eye = normalize(-vPosition);
  float facing = max(dot(n, eye), 0.0);
  float key = max(dot(n, normalize(vec3(-0.35, -0.6, -0.72))), 0.0);
  float fill = max(dot(n, normalize(vec3(0.8, 0.1, -0.5))), 0.0);
  vec3 base = mix(colour, mix(colour, vec3(1.0), 0.45), vNail);
  vec3 lit = base * (0.24 + 0.56 * key + 0.18 * fill + 0.2 * facing) + vec3(0.10) * pow(key, 18.0);
  result = vec4(mix(lit, rim, 0.75 * pow(1.0 - facing, 3.0) * step(0.01, dot(rim, rim))), 1.0);
}`;

export const LOOKS = { shaded: 0, mask: 1, depth: 2 };
const COLOURS = { right: [0.6, 0.75, 0.96], left: [0.98, 0.77, 0.55] };

let shared;

function connect() {
  if (shared !== undefined) return shared;
  const canvas = document.createElement("canvas");
  const gl = canvas.getContext("webgl2", { antialias: true, alpha: true, premultipliedAlpha: true });
  shared = gl && prepare(canvas, gl);
  canvas.addEventListener("webglcontextlost", (event) => { event.preventDefault(); shared = null; });
  canvas.addEventListener("webglcontextrestored", () => { shared = undefined; });
  return shared;
}

function prepare(canvas, gl) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
  const at = (name) => gl.getUniformLocation(program, name);
  const uniforms = Object.fromEntries(["camera", "place", "colour", "rim", "look", "depths"].map((name) => [name, at(name)]));
  const buffers = Object.fromEntries(["position", "normal", "nail", "faces"].map((name) => [name, gl.createBuffer()]));
  for (const name of ["position", "normal", "nail"]) {
    const place = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, name === "nail" ? 1 : 3, gl.FLOAT, false, 0, 0);
  }
  gl.enable(gl.DEPTH_TEST);
  return { canvas, gl, program, uniforms, buffers, model: null };
}

function load(context, model) {
  if (context.model === model) return;
  const { gl, buffers } = context;
  gl.bindBuffer(gl.ARRAY_BUFFER, buffers.nail);
  gl.bufferData(gl.ARRAY_BUFFER, model.nails, gl.STATIC_DRAW);
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, buffers.faces);
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, model.faces, gl.STATIC_DRAW);
  context.model = model;
}

/** The nearest and farthest depth of what is drawn, metres. */
function depthsOf(posed) {
  let [near, far] = [Infinity, 0];
  for (const { vertices } of posed) {
    for (let i = 2; i < vertices.length; i += 3) {
      near = Math.min(near, vertices[i]);
      far = Math.max(far, vertices[i]);
    }
  }
  return [near, far];
}

/**
 * Draw hands as one picture.
 * @param target a 2D context; drawn over what is there
 * @param scene `{hands, posed, picture: {width, height}, rect: {x, y, width, height}, look, rims, alpha}`: rect is where
 *   the picture lies in the target, in its pixels; hands may reach over its edge; rims are colours or null, hand by hand
 */
export function drawHands(target, model, scene) {
  const context = connect();
  target.save();
  target.globalAlpha = scene.alpha ?? 1;
  if (context) target.drawImage(drawWithGL(context, target.canvas, model, scene), 0, 0);
  else drawPlain(target, model, scene);
  target.restore();
}

function drawWithGL(context, { width, height }, model, { hands, posed, picture, rect, look = "shaded", rims = [] }) {
  const { canvas, gl, program, uniforms, buffers } = context;
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  load(context, model);
  gl.viewport(0, 0, width, height);
  gl.clearColor(0, 0, 0, 0);
  gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  gl.useProgram(program);
  const middle = [rect.x + rect.width / 2, rect.y + rect.height / 2];
  gl.uniform4f(uniforms.place, rect.width / width, rect.height / height, (2 * middle[0]) / width - 1, 1 - (2 * middle[1]) / height);
  gl.uniform1i(uniforms.look, LOOKS[look]);
  gl.uniform2fv(uniforms.depths, depthsOf(posed));
  hands.forEach((hand, i) => {
    const { focal, cx, cy } = hand.camera;
    gl.uniform4f(uniforms.camera, focal, cx, cy, picture.width / picture.height);
    gl.uniform3fv(uniforms.colour, COLOURS[hand.side]);
    gl.uniform3fv(uniforms.rim, rims[i] ?? [0, 0, 0]);
    for (const [name, values] of [["position", posed[i].vertices], ["normal", posed[i].normals]]) {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
    }
    gl.drawElements(gl.TRIANGLES, model.faces.length, gl.UNSIGNED_SHORT, 0);
  });
  return canvas;
}

/** Without WebGL: triangles from far to near. */
function drawPlain(target, model, { hands, posed, picture, rect, look = "shaded" }) {
  const [near, far] = depthsOf(posed);
  const factor = rect.width / picture.width;
  const triangles = [];
  hands.forEach((hand, i) => {
    const { vertices, normals } = posed[i];
    const pixels = [];
    for (let v = 0; v < vertices.length; v += 3) {
      const [x, y] = project(vertices.subarray(v, v + 3), hand.camera, picture.width, picture.height);
      pixels.push([rect.x + factor * x, rect.y + factor * y]);
    }
    for (let f = 0; f < model.faces.length; f += 3) {
      const corners = [model.faces[f], model.faces[f + 1], model.faces[f + 2]];
      const depth = corners.reduce((sum, v) => sum + vertices[3 * v + 2], 0) / 3;
      const light = corners.reduce((sum, v) => sum - 0.35 * normals[3 * v] - 0.6 * normals[3 * v + 1] - 0.72 * normals[3 * v + 2], 0) / 3;
      triangles.push({ depth, light: 0.28 + 0.72 * Math.max(light, 0), colour: COLOURS[hand.side], points: corners.map((v) => pixels[v]) });
    }
  });
  triangles.sort((a, b) => b.depth - a.depth);
  target.lineJoin = "round";
  for (const { depth, light, colour, points } of triangles) {
    const bright = 0.2 + (0.8 * (1 / depth - 1 / far)) / Math.max(1 / near - 1 / far, 1e-9);
    const rgb = look === "mask" ? [1, 1, 1] : look === "depth" ? [bright, bright, bright] : colour.map((c) => c * light);
    target.fillStyle = target.strokeStyle = `rgb(${rgb.map((c) => Math.round(255 * Math.min(c, 1))).join()})`;
    target.beginPath();
    points.forEach(([x, y], i) => (i ? target.lineTo(x, y) : target.moveTo(x, y)));
    target.closePath();
    target.fill();
    if (look !== "mask") target.stroke(); // closes the seams between triangles
  }
}

/** Which hand is seen at a pixel of the picture: its place in the list, or -1. The nearest counts. */
export function handAt(pixel, model, hands, posed, picture) {
  let [found, nearest] = [-1, Infinity];
  hands.forEach((hand, i) => {
    const { vertices } = posed[i];
    const points = new Float64Array((vertices.length / 3) * 2);
    for (let v = 0; v < vertices.length / 3; v++) {
      const at = project(vertices.subarray(3 * v, 3 * v + 3), hand.camera, picture.width, picture.height);
      points[2 * v] = at[0] - pixel[0];
      points[2 * v + 1] = at[1] - pixel[1];
    }
    for (let f = 0; f < model.faces.length; f += 3) {
      const [a, b, c] = [model.faces[f], model.faces[f + 1], model.faces[f + 2]];
      const cross = (p, q) => points[2 * p] * points[2 * q + 1] - points[2 * p + 1] * points[2 * q];
      const [ab, bc, ca] = [cross(a, b), cross(b, c), cross(c, a)];
      if ((ab >= 0 && bc >= 0 && ca >= 0) || (ab <= 0 && bc <= 0 && ca <= 0)) {
        const depth = Math.min(vertices[3 * a + 2], vertices[3 * b + 2], vertices[3 * c + 2]);
        if (depth < nearest) [found, nearest] = [i, depth];
      }
    }
  });
  return found;
}
