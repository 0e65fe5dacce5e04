// What poses are called in the page's language, and the search for them; as in handrawer/hand/library.py.

/** A pose's title and tags in a language ("ja", "zh"); in English where it has none there: one's own are as they were named. */
export const titleOf = (pose, language) => pose.others?.[language]?.title ?? pose.title;
export const tagsOf = (pose, language) => pose.others?.[language]?.tags ?? pose.tags;

/** Title and tags in one line. */
export function describe(pose, language) {
  const tags = tagsOf(pose, language).join(["ja", "zh"].includes(language) ? "、" : ", ");
  return tags ? `${titleOf(pose, language)} (${tags})` : titleOf(pose, language);
}

/** Text as the search compares it: small letters, no full or half width, hiragana for katakana. */
export const plain = (text) => text.normalize("NFKC").toLowerCase()
  .replace(/[\u30a1-\u30f6]/g, (sign) => String.fromCharCode(sign.charCodeAt(0) - 0x60));

/** The poses that all the words are found in: in the name, the title or the tags, in any language. */
export function found(poses, text) {
  const wanted = plain(text).split(/[\s,\u3001]+/).filter(Boolean);
  return poses.filter(({ words }) => wanted.every((word) => words.includes(word)));
}
