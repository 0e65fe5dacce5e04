// What the widget says, in the languages that the nodes are named in.

const WORDS = {
  en: {
    move: "Move and bend", moveTip: "Drag the hand to move it, pull a dot to bend a finger",
    turn: "Turn", turnTip: "Drag to turn the hand, outside the ring to roll it (or right-drag at any time)",
    undo: "Undo (Ctrl+Z)", redo: "Redo (Ctrl+Y)", mirror: "Change left and right (M)",
    straighten: "Palm to the viewer, fingers up", reset: "Start anew", add: "Add a hand (A)", remove: "Remove the hand (Delete)",
    look: "Shaded, see-through, depth or mask", poses: "Poses", posesTip: "Give the hand a named pose",
    take: "From input", takeTip: "Take the connected hands", takeNone: "Connect hands and run once, then take them here",
    sliders: "Sliders", curl: "Curl", spread: "Spread", oppose: "Across", shape: "Shape",
    thumb: "Thumb", index: "Index", middle: "Middle", ring: "Ring", little: "Little", all: "All", wrist: "Wrist",
    length: "Finger length", thickness: "Thickness", shape_spread: "Width", size: "Hand size",
    tip: "tip", knuckle: "knuckle", joint: "joint",
    left: "left", right: "right", hand: "Hand {n} ({side})", handOf: "Hand {n} of {count}, {side}",
    turnToo: "Turn the hand as in the picture, too",
    search: "Search poses", nothing: "No pose of that name", close: "Close",
    import: "Import…", importTip: "Bring in files of poses; they are kept in your own folder",
    export: "Export", exportTip: "Download the chosen pose as a small file, to send on",
    keep: "Keep", keepTip: "Keep this hand's pose in the library", keepName: "Name of the pose: letters, digits, _ and -",
    kept: "Kept as {name}", notKept: "Not kept: {why}",
    hintMove: "Drag: move · Scroll: size · Right-drag: turn · Pull a dot: bend",
    hintTurn: "Drag: turn · Outside the ring: roll · Scroll: size",
    hintTouch: "Drag: move · Pinch: size · Two fingers: turn",
    hintRun: "Run once to bring the connected hands here",
    stage: "Hand poser. Arrows move the hand or pull the chosen joint, Shift and arrows turn, plus and minus size, "
      + "brackets roll, Tab goes to the next joint and hand, Delete removes.",
    empty: "No hand. Add one with +", loading: "Loading the hand…",
    failed: "The hand could not be loaded: {why}", unreadable: "{why} Press “Start anew” for a new hand.",
  },
  ja: {
    move: "移動・曲げ", moveTip: "手をドラッグで移動、点を引くと指が曲がります",
    turn: "回転", turnTip: "ドラッグで回転、輪の外側で傾け（右ドラッグはいつでも回転）",
    undo: "元に戻す (Ctrl+Z)", redo: "やり直す (Ctrl+Y)", mirror: "左右を入れ替え (M)",
    straighten: "手のひらを正面、指を上に", reset: "最初からやり直す", add: "手を追加 (A)", remove: "手を削除 (Delete)",
    look: "陰影・半透明・深度・マスクの切り替え", poses: "ポーズ", posesTip: "ライブラリからポーズを選ぶ",
    take: "入力から", takeTip: "接続された手を取り込む", takeNone: "手を接続して一度実行すると取り込めます",
    sliders: "スライダー", curl: "曲げ", spread: "開き", oppose: "対立", shape: "形",
    thumb: "親指", index: "人差し指", middle: "中指", ring: "薬指", little: "小指", all: "全部", wrist: "手首",
    length: "指の長さ", thickness: "太さ", shape_spread: "幅", size: "手の大きさ",
    tip: "先端", knuckle: "付け根", joint: "関節",
    left: "左", right: "右", hand: "手 {n}（{side}）", handOf: "手 {n}／{count}、{side}",
    turnToo: "絵のとおりに手の向きも変える",
    search: "ポーズを検索", nothing: "その名前のポーズはありません", close: "閉じる",
    import: "読み込み…", importTip: "ポーズのファイルを読み込み、自分のフォルダに保存します",
    export: "書き出し", exportTip: "選んだポーズを小さなファイルとしてダウンロードします",
    keep: "保存", keepTip: "この手のポーズをライブラリに保存", keepName: "ポーズの名前（文字・数字・_・-）",
    kept: "{name} として保存しました", notKept: "保存できませんでした: {why}",
    hintMove: "ドラッグ: 移動・スクロール: 大きさ・右ドラッグ: 回転・点を引く: 曲げ",
    hintTurn: "ドラッグ: 回転・輪の外: 傾け・スクロール: 大きさ",
    hintTouch: "ドラッグ: 移動・ピンチ: 大きさ・二本指: 回転",
    hintRun: "一度実行すると接続された手がここに来ます",
    stage: "ハンドポーザー。矢印で手の移動または選んだ関節を引く、Shift＋矢印で回転、＋と－で大きさ、角括弧で傾け、"
      + "Tab で次の関節と手、Delete で削除。",
    empty: "手がありません。＋で追加してください", loading: "手を読み込み中…",
    failed: "手を読み込めませんでした: {why}", unreadable: "{why}「最初からやり直す」で新しい手になります。",
  },
  zh: {
    move: "移动与弯曲", moveTip: "拖动手来移动，拉动圆点来弯曲手指",
    turn: "旋转", turnTip: "拖动旋转，在圆环外拖动则倾斜（随时可用右键拖动旋转）",
    undo: "撤销 (Ctrl+Z)", redo: "重做 (Ctrl+Y)", mirror: "左右互换 (M)",
    straighten: "掌心朝前，手指向上", reset: "重新开始", add: "添加一只手 (A)", remove: "删除这只手 (Delete)",
    look: "着色、半透明、深度或遮罩", poses: "姿势", posesTip: "从姿势库中选择姿势",
    take: "取自输入", takeTip: "采用所连接的手", takeNone: "连接手并运行一次后即可采用",
    sliders: "滑块", curl: "弯曲", spread: "张开", oppose: "对掌", shape: "形状",
    thumb: "拇指", index: "食指", middle: "中指", ring: "无名指", little: "小指", all: "全部", wrist: "手腕",
    length: "手指长度", thickness: "粗细", shape_spread: "宽度", size: "手的大小",
    tip: "指尖", knuckle: "指根", joint: "关节",
    left: "左", right: "右", hand: "手 {n}（{side}）", handOf: "第 {n} 只手，共 {count} 只，{side}",
    turnToo: "同时按图中的方向转动手",
    search: "搜索姿势", nothing: "没有这个名称的姿势", close: "关闭",
    import: "导入…", importTip: "导入姿势文件，保存在自己的文件夹中",
    export: "导出", exportTip: "把所选姿势下载为小文件，便于分享",
    keep: "保存", keepTip: "把这只手的姿势保存到姿势库", keepName: "姿势名称（文字、数字、_ 和 -）",
    kept: "已保存为 {name}", notKept: "未能保存：{why}",
    hintMove: "拖动：移动 · 滚轮：大小 · 右键拖动：旋转 · 拉动圆点：弯曲",
    hintTurn: "拖动：旋转 · 圆环外：倾斜 · 滚轮：大小",
    hintTouch: "拖动：移动 · 双指捏合：大小 · 双指：旋转",
    hintRun: "运行一次，即可将所连接的手带到这里",
    stage: "手部姿势编辑器。方向键移动手或拉动所选关节，Shift 加方向键旋转，加减号调整大小，方括号倾斜，"
      + "Tab 键转到下一个关节和手，Delete 键删除。",
    empty: "没有手。按 + 添加", loading: "正在加载手…",
    failed: "无法加载手：{why}", unreadable: "{why} 按“重新开始”可得到新的手。",
  },
};

/** The words of a language ("ja", "zh", else English), which one it is, and `say` to fill in what stands in braces. */
export function wordsOf(locale) {
  const asked = String(locale ?? "en").slice(0, 2);
  const language = asked in WORDS ? asked : "en";
  const words = WORDS[language];
  return { ...words, language, say: (key, values) => words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]) };
}

export const LANGUAGES = Object.keys(WORDS);
export const KEYS = Object.keys(WORDS.en);
export const table = (language) => WORDS[language];
