// Drawn for this widget, on a grid of 24 x 24.
const PATHS = {
  move: "M12 3v18M3 12h18M12 3l-3 3M12 3l3 3M12 21l-3-3M12 21l3-3M3 12l3-3M3 12l3 3M21 12l-3-3M21 12l-3 3",
  turn: "M4.5 12a7.5 7.5 0 0 1 13-5.1M19.5 12a7.5 7.5 0 0 1-13 5.1M18 3v4.2h-4.2M6 21v-4.2h4.2",
  undo: "M9 7 5 11l4 4M5 11h9a5 5 0 0 1 0 10h-3",
  redo: "M15 7l4 4-4 4M19 11h-9a5 5 0 0 0 0 10h3",
  mirror: "M12 3v2.5M12 8.500v2.500M12 14v2.500M12 19v2M8.500 7v10L3 17zM15.500 7v10l5.500 0z",
  straighten: "M12 20V5M12 5l-4 4M12 5l4 4M5 20h14",
  reset: "M5 5v5h5M5.600 10A7.500 7.500 0 1 1 4.500 14",
  add: "M12 5v14M5 12h14",
  remove: "M5 7h14M10 7V5h4v2M7 7l.800 12h8.400L17 7M10.500 10.500v5.500M13.500 10.500v5.500",
  look: "M2.500 12S6 5.500 12 5.500 21.500 12 21.500 12 18 18.500 12 18.500 2.500 12 2.500 12zM12 9a3 3 0 1 1 0 6 3 3 0 0 1 0-6z",
  sliders: "M4 7h9M17 7h3M4 12h3M11 12h9M4 17h7M15 17h5M15 5v4M9 10v4M13 15v4",
  poses: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  take: "M12 4v10M8 10.500l4 4 4-4M5 19h14",
  send: "M12 15V5M8 8.500l4-4 4 4M5 19h14",
  keep: "M6 4h9l4 4v12H5V4zM8 4v5h7M8 20v-6h8v6",
  close: "M6 6l12 12M18 6 6 18",
};

export function icon(name) {
  return `<svg viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d="${PATHS[name]}"/></svg>`;
}
