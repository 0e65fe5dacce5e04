// The widget's looks, in the colours of the host's theme.
export const STYLE = `
.handrawer-poser { --hp-fg: var(--input-text, #ddd); --hp-soft: var(--descrip-text, #999); --hp-bg: var(--comfy-input-bg, #222);
  --hp-line: var(--border-color, #4e4e4e); --hp-accent: var(--p-primary-color, #4f9cf9); 
  --hp-slider: color-mix(in srgb, var(--hp-accent) 70%, var(--hp-fg)); --hp-stage: color-mix(in srgb, var(--comfy-input-bg, #222) 82%, #808080);
  position: relative; display: flex; flex-direction: column; gap: 4px; box-sizing: border-box; width: 100%; height: 100%;
  min-height: 340px; min-width: 0; color: var(--hp-fg); font: 12px/1.3 Inter, Arial, sans-serif; user-select: none; -webkit-user-select: none; }
.handrawer-poser * { box-sizing: border-box; }
.handrawer-poser [hidden] { display: none !important; }
.hp-bar { display: flex; flex-wrap: wrap; gap: 3px; align-items: center; flex: none; }
.hp-bar .hp-gap { width: 5px; }
.handrawer-poser button { display: inline-flex; align-items: center; justify-content: center; gap: 4px; height: 26px; min-width: 26px;
  padding: 0 4px; border: 1px solid transparent; border-radius: 5px; background: var(--hp-bg); color: inherit; font: inherit; cursor: pointer; }
.handrawer-poser button:hover:not(:disabled) { border-color: var(--hp-line); background: color-mix(in srgb, var(--hp-bg) 85%, var(--hp-fg)); }
.handrawer-poser button:disabled { opacity: 0.35; cursor: default; }
.handrawer-poser button[aria-pressed="true"], .handrawer-poser button[aria-expanded="true"], .handrawer-poser button[aria-selected="true"] {
  background: color-mix(in srgb, var(--hp-accent) 30%, var(--hp-bg)); border-color: var(--hp-accent); }
.handrawer-poser :focus-visible { outline: 2px solid var(--hp-accent); outline-offset: 1px; }
.handrawer-poser svg { width: 16px; height: 16px; fill: none; stroke: currentColor; stroke-width: 1.7; stroke-linecap: round; stroke-linejoin: round; }
.hp-stage { position: relative; flex: 1 1 0; min-height: 150px; border-radius: 6px; overflow: hidden; background: var(--hp-stage); }
.hp-stage canvas { position: absolute; inset: 0; width: 100%; height: 100%; touch-action: none; border-radius: 6px; outline-offset: -2px !important; }
.hp-hint { position: absolute; left: 6px; right: 6px; bottom: 4px; text-align: center; font-size: 11px; color: #fff; text-shadow: 0 0 3px #000, 0 0 2px #000;
  opacity: 0.85; pointer-events: none; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.hp-message { position: absolute; inset: 0; display: flex; align-items: center; justify-content: center; padding: 16px; text-align: center; pointer-events: none; }
.hp-message span { max-width: 34em; padding: 6px 10px; border-radius: 6px; background: var(--hp-bg); }
.hp-hands { position: absolute; left: 5px; top: 5px; display: flex; flex-wrap: wrap; gap: 3px; }
.hp-hands button { height: 22px; padding: 0 7px; font-size: 11px; }
.hp-panel { flex: none; display: grid; grid-template-columns: minmax(36px, max-content) repeat(6, minmax(0, 1fr)); gap: 1px 6px; align-items: center;
  padding: 4px 6px; border-radius: 6px; background: var(--hp-bg); font-size: 11px; }
.hp-panel .hp-head { text-align: center; color: var(--hp-soft); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.hp-panel .hp-name { color: var(--hp-soft); white-space: nowrap; }
.hp-panel input[type="range"] { width: 100%; min-width: 0; height: 18px; margin: 0; accent-color: var(--hp-slider); cursor: pointer; }
.hp-shape { grid-column: 1 / -1; display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 0 8px; margin-top: 3px; padding-top: 3px; border-top: 1px solid var(--hp-line); }
.hp-shape label { display: flex; flex-direction: column; min-width: 0; color: var(--hp-soft); }
.hp-shape span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.hp-poses { position: absolute; inset: 0; z-index: 2; display: flex; flex-direction: column; gap: 6px; padding: 8px; border-radius: 6px;
  background: var(--comfy-menu-bg, #353535); border: 1px solid var(--hp-line); }
.hp-poses .hp-bar input { flex: 1; min-width: 60px; height: 26px; padding: 0 8px; border: 1px solid var(--hp-line); border-radius: 5px; background: var(--hp-bg);
  color: inherit; font: inherit; user-select: text; -webkit-user-select: text; }
.hp-poses .hp-bar input::placeholder { color: var(--hp-soft); opacity: 1; }
.hp-poses .hp-bar span { color: var(--hp-soft); }
.hp-grid { flex: 1; min-height: 0; overflow-y: auto; display: grid; grid-template-columns: repeat(auto-fill, minmax(76px, 1fr)); grid-auto-rows: max-content; gap: 4px; }
.handrawer-poser .hp-grid button { flex-direction: column; height: auto; padding: 3px 2px 4px; gap: 1px; }
.hp-grid canvas { width: 64px; height: 64px; }
.hp-grid span { max-width: 100%; font-size: 10.5px; line-height: 1.2; text-align: center; overflow-wrap: anywhere; }
.hp-said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.lg-node-widgets:has(.handrawer-poser) { grid-template-rows: min-content min-content minmax(340px, 1fr) !important; }
.lg-node-widget > :has(> .handrawer-poser) { min-height: 340px; }
`;

export function addStyle() {
  if (document.getElementById("handrawer-poser-style")) return;
  const element = document.createElement("style");
  element.id = "handrawer-poser-style";
  element.textContent = STYLE;
  document.head.append(element);
}
